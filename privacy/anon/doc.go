// Package anon makes tables about people safer to publish, and checks that they are.
package anon
