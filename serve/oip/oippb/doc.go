// Package oippb holds the messages and the service of the Open Inference
// Protocol over gRPC, generated from inference.proto; 'make proto' makes them
// again. Package oip turns them into typed tensors and back; only what speaks
// gRPC itself needs this package.
//
//	server := grpc.NewServer()
//	oippb.RegisterGRPCInferenceServiceServer(server, service)
package oippb
