# shellcheck shell=bash disable=SC2034
# Versions, paths and addresses, shared by all scripts of the Kubernetes bed.

readonly kubernetes_version=v1.34.4 # 1.34 is the newest that runs on cgroup v1 and with containerd 1.6
readonly helm_version=v3.21.4
readonly istio_api_version=v1.31.1
readonly argocd_version=v3.3.6

bed_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly bed_source
readonly cache=${MERIDIAN_CACHE:-$HOME/.cache/meridian}
readonly bin=$cache/bin
readonly state=$cache/bed        # etcd, containerd, kubelet, volumes, logs: all of it goes with `down`
readonly logs=$state/logs
readonly kubeconfig=$state/admin.kubeconfig
readonly audit_log=$logs/audit.log
readonly run=/run/meridian-bed   # sockets and process ids; short, because a socket's path ends at 108 bytes
readonly containerd_socket=$run/containerd.sock
readonly netns=meridian-bed
readonly cgroup=meridian-bed
readonly node_address=10.77.0.1  # inside the bed's network namespace, as are all addresses here
readonly dns_address=10.96.0.10

# shellcheck source=process.sh
. "$bed_source/process.sh"

# inside COMMAND… — runs it in the bed's network namespace and in no other namespace: `ip netns exec` would give each process
# its own mounts, and the kubelet's volumes would not reach the containers.
inside() { nsenter --net="/run/netns/$netns" "$@"; }

kubectl() { KUBECONFIG=$kubeconfig inside "$bin/kubectl" "$@"; }
bed_ctr() { ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

# Namespaces, mounts and cgroups need root; the command is repeated with sudo.
become_root() {
    ((EUID == 0)) && return
    command -v sudo >/dev/null || die "needs root, and there is no sudo"
    exec sudo MERIDIAN_CACHE="$cache" "$bed_source/${0##*/}" "$@"
}

require_up() { [[ -e /run/netns/$netns && -e $kubeconfig ]] || die "the bed is not up; run tests/bed/up"; }
