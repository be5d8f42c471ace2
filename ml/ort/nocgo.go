//go:build !cgo

package ort

// Without cgo the compiler stops here, with the remedy in its message.
const _ = ONNX_Runtime_is_called_through_cgo__install_a_C_compiler_and_set_CGO_ENABLED_to_1
