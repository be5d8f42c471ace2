// Package dp is differential privacy: its vocabulary here, its accounting in
// account.
package dp
