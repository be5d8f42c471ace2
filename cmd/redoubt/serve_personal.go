package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt/privacy/mask"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/serve"
	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// personalData has package pii look for what the gateway's guard asks for.
type personalData struct {
	scanner *pii.Scanner
	engine  *mask.Engine
}

func newPersonalData(p serve.Personal) (gateway.PersonalData, error) {
	f := piiFlags{types: p.Types, exclude: p.Exclude, noNames: p.Names != nil && !*p.Names}
	settings, err := f.settings("")
	if err != nil {
		return nil, err
	}
	settings.Threshold = p.Threshold
	policy := &mask.Policy{}
	if p.Policy != "" {
		text, err := readSmall(p.Policy)
		if err != nil {
			return nil, err
		}
		if policy, err = mask.ParsePolicy(text); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Policy, err)
		}
	}
	if _, vault := policy.Needs(); vault {
		return nil, errors.New("policy: the method vault is not to be had in the gateway; use token")
	}
	in := mask.Settings{Valid: newValidity().valid}
	if p.Key != "" {
		if in.Key, err = hex.DecodeString(strings.TrimSpace(p.Key)); err != nil {
			return nil, errors.New("key: want 64 hexadecimal digits, as 'redoubt pii key' makes them")
		}
	}
	d := &personalData{}
	if d.engine, err = mask.New(policy, in); err != nil {
		return nil, err
	}
	if d.scanner, err = pii.New(settings); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *personalData) Mask(ctx context.Context, text []byte) ([]byte, []string, error) {
	found, err := d.scanner.Scan(ctx, text)
	if err != nil || len(found) == 0 {
		return text, nil, err
	}
	masked, err := d.engine.Text(ctx, text, found, "")
	if err != nil {
		return nil, nil, err
	}
	var types []string
	for _, f := range found {
		types = append(types, f.Type)
	}
	slices.Sort(types)
	return masked, slices.Compact(types), nil
}

// logThreshold is how sure a finding must be to be masked in the log: what is masked
// there by mistake cannot be looked up any more.
const logThreshold = 0.8

// newLogMask replaces in what the log says numbers and secrets that leave no doubt.
// Names, times and addresses of the network are what a log is about.
func newLogMask() (func(string) string, error) {
	s, err := pii.New(pii.Settings{
		Threshold: logThreshold,
		Exclude:   []string{pii.DateTime, pii.Age, pii.ZipCode, "URL", "IP_ADDRESS", "MAC_ADDRESS", "PHONE_NUMBER"},
	})
	if err != nil {
		return nil, err
	}
	partial := mask.Rule{Method: "partial"}
	e, err := mask.New(&mask.Policy{Types: map[string]mask.Rule{"CREDIT_CARD": partial, "EMAIL_ADDRESS": partial}}, mask.Settings{})
	if err != nil {
		return nil, err
	}
	return remembered(func(text string) string {
		ctx := context.Background()
		found, err := s.Scan(ctx, []byte(text))
		if err != nil || len(found) == 0 {
			return text // a scanner without a tagger does not fail
		}
		masked, err := e.Text(ctx, []byte(text), found, "")
		if err != nil {
			return "[masked]"
		}
		return string(masked)
	}), nil
}

// remembered is a mask that knows short texts that it has left as they are: of most
// entries the details are those of the entry before.
func remembered(mask func(string) string) func(string) string {
	const most, longest = 1024, 128
	var mu sync.RWMutex
	harmless := map[string]bool{"": true}
	return func(text string) string {
		mu.RLock()
		known := harmless[text]
		mu.RUnlock()
		if known {
			return text
		}
		masked := mask(text)
		if masked == text && len(text) <= longest {
			mu.Lock()
			if len(harmless) >= most {
				clear(harmless)
			}
			harmless[strings.Clone(text)] = true
			mu.Unlock()
		}
		return masked
	}
}
