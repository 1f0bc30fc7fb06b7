// Package netnstest runs the real gateway command in network namespaces of this
// machine and breaks the network between them: loss, delay, partition, a link
// that swallows everything, a network without UDP. What is claimed of a stamp
// in virtual time is claimed here again, with the kernel's own sockets.
//
// It holds tests only and is of use to nobody else. It never touches the
// machine's own network: every interface, address and filter lives in a
// namespace whose name begins with "sg-" and the test's process id, and goes
// with it. It needs Linux, root, ip and tc; where one of them is missing, or
// the kernel lacks what a case needs, the case is skipped and says why.
//
// A stamp's network is a switch, a namespace with two bridges, and a cable to
// each gateway's namespace. A gateway's Azure OpenAI instances are simulated on
// the loopback addresses of its own namespace: what one gateway learns from
// them can reach another by gossip only.
package netnstest
