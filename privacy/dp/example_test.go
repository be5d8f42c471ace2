package dp_test

import (
	"fmt"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

func Example() {
	counts := []int64{120, 7, 0, 43}
	ward := dp.Contribution{Groups: 3, Rows: 1, Low: 1, High: 1} // a patient counts once, in three wards at most
	s, err := ward.Sensitivity(dp.AddRemove)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := dp.Laplace(s, 0.5)
	if err != nil {
		fmt.Println(err)
		return
	}
	noisy := m.Release(dp.Source{}, counts)
	half, err := m.Interval(0.95)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(noisy), "numbers,", m, "within", half, "in 95 of 100")
	// Output: 4 numbers, discrete Laplace, scale 6 within 18 in 95 of 100
}

func ExampleClassicGaussian() {
	_, err := dp.ClassicGaussian(1, dp.Guarantee{Epsilon: 16, Delta: 1e-5})
	fmt.Println(err)
	// Output: epsilon 16: the classic formula is false here, its noise gives delta 0.00034 where 1e-05 is asked; use the analytic calibration
}
