// Package hop holds what the transports between the core and a module have in common, because both are one hop of HTTP:
// which headers travel on, what an answer may say, and the patience with the client at the other end.
//
// It must not know how bytes travel to the module: that is the business of the packages beside it.
package hop
