package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// large calls are longer than may go without a turn, by every way. Each returns
// whether it was answered; with another input than the model has, it is refused.
var large = map[string]func(t *testing.T, h *house, input string) bool{
	"rest": func(t *testing.T, h *house, input string) bool {
		code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", strings.Replace(row, `"x"`, `"`+input+`"`, 1)+blanks)
		return code == 200
	},
	"binary": func(t *testing.T, h *house, input string) bool {
		head := fmt.Sprintf(`{"inputs":[{"name":%q,"datatype":"FP32","shape":[10000,2],"parameters":{"binary_data_size":80000}}]}`, input)
		code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", head+string(make([]byte, 80000)),
			"Inference-Header-Content-Length", fmt.Sprint(len(head)), "Content-Type", "application/octet-stream")
		return code == 200
	},
	"grpc": func(t *testing.T, h *house, input string) bool {
		_, err := h.rpc.ModelInfer(as(t, "user"), &oippb.ModelInferRequest{ModelName: "loans",
			Inputs:           []*oippb.ModelInferRequest_InferInputTensor{{Name: input, Datatype: "FP32", Shape: []int64{10000, 2}}},
			RawInputContents: [][]byte{make([]byte, 80000)}})
		return err == nil
	},
	"predict": func(t *testing.T, h *house, input string) bool {
		code, _, _ := h.ask(t, "user", "POST", "/api/v1/models/loans/predict", `{"features":{"`+input+`":[1,2]}}`+blanks)
		return code == 200
	},
}

var blanks = strings.Repeat(" ", 80000)

// However a large body comes, nothing is made of it while another has the memory; a
// small one goes ahead.
func TestLargeBodiesTakeTurns(t *testing.T) {
	for name, call := range large {
		m, started, release := loans(), make(chan bool), make(chan bool)
		m.Versions[0].Engine = &scorer{fail: func(*oip.Request) error { started <- true; <-release; return nil }}
		h := buildOn(t, gateway.Terms{Bodies: 70000}, gateway.Config{}, m) // less than one of them
		answered := make(chan bool)
		begin := func(call func(t *testing.T, h *house, input string) bool) {
			go func() { answered <- call(t, h, "x") }()
		}
		begin(call)
		<-started
		begin(large["rest"])
		select {
		case <-started:
			t.Errorf("%s: another began beside it", name)
		case <-time.After(50 * time.Millisecond):
		}
		begin(func(t *testing.T, h *house, _ string) bool {
			_, ok := ways[0].ask(t, h, "developer", "loans")
			return ok
		})
		<-started
		release <- true
		release <- true
		<-started
		release <- true
		for range 3 {
			if !<-answered {
				t.Errorf("%s: a call was refused", name)
			}
		}
	}
}

// One caller leaves half to others, however slow he is to take his answers.
func TestHalfIsLeft(t *testing.T) {
	m, started, release := loans(), make(chan bool), make(chan bool)
	m.Versions[0].Engine = &scorer{fail: func(*oip.Request) error { started <- true; <-release; return nil }}
	h := buildOn(t, gateway.Terms{Bodies: 200_000}, gateway.Config{}, m)
	codes := make(chan int)
	begin := func(token string) {
		go func() {
			code, _, _ := h.ask(t, token, "POST", "/v2/models/loans/infer", row+blanks)
			codes <- code
		}()
	}
	begin("user")
	<-started
	begin("user")
	select {
	case <-started:
		t.Error("one caller has more than half")
	case <-time.After(50 * time.Millisecond):
	}
	begin("developer")
	<-started
	release <- true
	release <- true
	<-started
	release <- true
	for range 3 {
		if code := <-codes; code != 200 {
			t.Errorf("%d", code)
		}
	}
}

// Who waits for a turn does so no longer than a call may take, and who is refused
// gives it back.
func TestTurnsEnd(t *testing.T) {
	for name, call := range large {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for as long as a call may take
			m, started, release := loans(), make(chan bool), make(chan bool)
			m.Settings.Timeout = 2 * time.Second
			m.Versions[0].Engine = &scorer{fail: func(*oip.Request) error { started <- true; <-release; return nil }}
			h := buildOn(t, gateway.Terms{Bodies: 100000}, gateway.Config{}, m)
			first := make(chan bool, 1)
			begin := func() {
				go func() { first <- call(t, h, "x") }()
				select {
				case <-started:
				case <-first:
					t.Fatal("there was no turn")
				}
			}
			begin()
			if call(t, h, "x") {
				t.Error("there was no turn, and yet an answer")
			}
			release <- true
			if !<-first {
				t.Error("the first was refused")
			}
			for range 3 {
				if call(t, h, "other") {
					t.Error("a wrong input was taken")
				}
			}
			begin() // for every turn was given back
			release <- true
			if !<-first {
				t.Error("the last was refused")
			}
		})
	}
}
