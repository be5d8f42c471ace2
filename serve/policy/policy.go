// Package policy decides who may do what to which model.
//
//	engine, err := policy.New(policy.State{Grants: grants, Policies: documents})
//	...
//	d := engine.Decide(policy.Request{
//		Principal: who,
//		Action:    policy.Invoke,
//		Resource:  policy.Resource{Kind: policy.KindModel, Name: "loans", Model: loans},
//		Context:   policy.Context{Time: time.Now(), From: addr, Path: "grpc"},
//	})
//	if !d.Allowed { ... d.Why for the log, d.Needs for the caller ... }
//
// Package admin keeps what is decided by, and changes it with a record of who
// and why.
package policy
