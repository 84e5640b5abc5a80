// Package policies enforces network policies where the pods of the lab are:
// NetworkPolicy of Kubernetes, and the part of CiliumNetworkPolicy that a
// cluster with Azure CNI Powered by Cilium needs. It plays the Cilium agent
// of AKS, on nftables.
//
// The meaning is Cilium's where Kubernetes leaves a choice:
//   - an ipBlock, and a name, means addresses outside of the cluster, never
//     those of pods or nodes
//     (https://learn.microsoft.com/azure/aks/azure-cni-powered-by-cilium#limitations);
//   - what the node itself sends to its pods passes, so probes do
//     (https://docs.cilium.io/en/stable/security/policy/intro/#policy-enforcement-modes);
//   - a pod of which nothing is known yet is cut off: its address is of the
//     pods' range, and its rules are not in force.
//
// Established connections pass. All rules are replaced in one transaction,
// and they stay in force when this process ends.
//
// compile is pure: State in, RuleSet out. render writes a RuleSet as nftables;
// watch, names and command are the input and the output.
package policies
