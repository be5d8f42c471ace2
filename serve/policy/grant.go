package policy

import "time"

// Grant gives a role or a permission to a principal or a group.
type Grant struct {
	ID string `json:"id"`
	// Subject is a principal's id, or "group:" and a group's name.
	Subject string `json:"subject"`
	// Role is one of [Roles] or of [State.Roles]. Either a role or a permission
	// is given.
	Role string `json:"role,omitempty"`
	// On is where the role holds: "*" for everywhere, "model:NAME" or
	// "group:NAME" for a group of models. Roles that are not about models hold
	// everywhere or not at all.
	On string `json:"on,omitempty"`
	// Permission is of the form "model:NAME:ACTION", where NAME and ACTION may be
	// "*".
	Permission string `json:"permission,omitempty"`
	// Expires is when it ends; zero for never.
	Expires time.Time `json:"expires,omitzero"`
	// By, Created and Reason document who decided to give it, when and why.
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}

// Document is a text of custom policies in Cedar, in one of its versions.
type Document struct {
	ID      string `json:"id"`
	Version int    `json:"version"` // from 1
	Text    string `json:"text"`
	// By, Created and Reason document who decided it, when and why.
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}
