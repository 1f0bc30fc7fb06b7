// Package boundarytest proves the example boundary of infra/terraform: it takes
// what Terraform would build, lays network namespaces out as the planned network
// rules say, and runs the planned gateways with the planned policy against
// simulated instances. What must pass passes, and what must not does not.
//
// It holds tests only. It never touches the machine's own network: each party has
// a namespace whose name begins with "sgb-" and the test's process id, joined by
// a router in another, whose filter is made of the planned rules in the order in
// which Azure tries them. Needed are Linux, root, ip, nft and terraform; where one
// is missing the tests are skipped and say so, and in CI they fail.
//
// Not Azure's: the balancer, Private Link's translation of addresses, Front Door.
// Their addresses are there, so that the rules for them are tried.
package boundarytest
