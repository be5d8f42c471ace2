package evasion_test

import (
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// A quarter turn and a whole shift move pixels to pixels.
func TestPose(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, c := range []struct {
		pose evasion.Pose
		want []float32
	}{
		{evasion.Pose{}, x},
		{evasion.Pose{Down: 1}, []float32{0, 0, 0, 1, 2, 3, 4, 5, 6}},
		{evasion.Pose{Right: -1}, []float32{2, 3, 0, 5, 6, 0, 8, 9, 0}},
		{evasion.Pose{Right: 0.5}, []float32{.5, 1.5, 2.5, 2, 4.5, 5.5, 3.5, 7.5, 8.5}},
		{evasion.Pose{Degrees: 90}, []float32{3, 6, 9, 2, 5, 8, 1, 4, 7}},
	} {
		got, err := c.pose.Apply(x, []int{1, 3, 3}, evasion.Box{Lo: []float32{0}, Hi: []float32{9}})
		if err != nil {
			t.Fatal(err)
		}
		for j, v := range got {
			if d := v - c.want[j]; d > 1e-5 || d < -1e-5 {
				t.Errorf("%+v: %v, want %v", c.pose, got, c.want)
				break
			}
		}
	}
	if _, err := (evasion.Pose{}).Apply(x, []int{9}, unit); err == nil {
		t.Error("a row was turned")
	}
}

// Every image that the search says has fallen falls when its pose is applied
// again, and the search asks once a pose. As many fall as with the same grid in
// PyTorch's grid_sample (aligned corners, zeros beyond the edge): 44.
func TestSpatial(t *testing.T) {
	l := network(t, "mnist_cnn_std_s1.onnx", "none")
	b := correct(t, l, "mnist", 100)
	a := evasion.Spatial{Degrees: 15, Pixels: 1, Angles: 7, Shifts: 3}
	var tally model.Tally
	poses, err := a.Search(t.Context(), model.Count(l, &tally), b)
	if err != nil {
		t.Fatal(err)
	}
	if tally.Forwards != 100*7*3*3 {
		t.Errorf("%d answers, want one a pose: %d", tally.Forwards, 100*7*3*3)
	}
	x := tensor.New(b.X.Shape...)
	for i, p := range poses {
		if !p.Within(a) {
			t.Errorf("pose %+v leaves the bounds", p)
		}
		moved, err := p.Apply(b.X.Row(i), b.X.Shape[1:], b.Box)
		if err != nil {
			t.Fatal(err)
		}
		copy(x.Row(i), moved)
	}
	got := 0
	for _, ok := range fooled(t, l, b, x) {
		if ok {
			got++
		}
	}
	t.Logf("%d of 100 fall", got)
	if got != 44 {
		t.Errorf("%d of 100 fall, 44 with grid_sample", got)
	}
	part := &evasion.Batch{X: b.X.Slice(5, 9), Labels: b.Labels[5:9], Norm: b.Norm, Eps: b.Eps[5:9], Box: b.Box}
	if again, err := a.Search(t.Context(), l, part); err != nil || !slices.Equal(again, poses[5:9]) {
		t.Errorf("a part of the batch has poses %v (%v), in the whole it had %v", again, err, poses[5:9])
	}
}
