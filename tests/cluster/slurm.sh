#!/bin/bash
# A SLURM of two virtual nodes on this machine, for the tests beside it: slurm.sh start | stop
#
# It needs root and Debian's packages slurm-wlm and munge, which it installs; SLURM_DEBS may name a folder of these
# packages, or the address of a tar archive of them, where apt has no network. All else lies in SLURM_TEST_DIR; nothing
# in /etc is changed. Exit status 77: it cannot run here, and says why.
set -eu
DIR=${SLURM_TEST_DIR:-/var/tmp/slurm-for-tests}
export SLURM_CONF=$DIR/slurm.conf

cannot() { echo "cannot run: $1"; exit 77; }

stop() {
    for name in slurmd.n1 slurmd.n2 slurmctld munged; do
        if [ -s "$DIR/$name.pid" ]; then
            kill "$(cat "$DIR/$name.pid")" 2>/dev/null || true
            for _ in $(seq 50); do [ -d "/proc/$(cat "$DIR/$name.pid" 2>/dev/null || echo none)" ] || break; sleep 0.1; done
        fi
    done
}

install() {
    if command -v slurmctld >/dev/null && command -v munged >/dev/null; then return; fi
    if [ -n "${SLURM_DEBS:-}" ]; then
        debs=$SLURM_DEBS
        if [ ! -d "$debs" ]; then
            debs=$DIR/debs
            mkdir -p "$debs"
            curl -fsSL "$SLURM_DEBS" | tar -xf - -C "$debs" || cannot "no packages at $SLURM_DEBS"
        fi
        dpkg -i "$debs"/*.deb >"$DIR/install.log" 2>&1 || cannot "the packages of $SLURM_DEBS: see $DIR/install.log"
        return
    fi
    command -v apt-get >/dev/null || cannot "no slurmctld here, and no apt to install it"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; } \
        >"$DIR/install.log" 2>&1 || cannot "apt does not install slurm-wlm: see $DIR/install.log, or set SLURM_DEBS"
}

configure() {
    host=$(hostname -s)
    cpus=2
    memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 20))
    [ -s "$DIR/munge.key" ] || head -c 1024 /dev/urandom >"$DIR/munge.key"
    chmod 400 "$DIR/munge.key"
    cat >"$SLURM_CONF" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$DIR/state
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdSpoolDir=$DIR/spool.%n
SlurmdPidFile=$DIR/slurmd.%n.pid
SlurmdLogFile=$DIR/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
}

start() {
    [ "$(uname -s)" = Linux ] || cannot "this is no Linux"
    [ "$(id -u)" = 0 ] || cannot "SLURM's daemons need root"
    mkdir -p "$DIR" "$DIR/state" "$DIR/spool.n1" "$DIR/spool.n2"
    stop
    install
    configure
    munged --force --key-file="$DIR/munge.key" --socket="$DIR/munge.socket" --pid-file="$DIR/munged.pid" \
        --log-file="$DIR/munged.log" --seed-file="$DIR/munge.seed" >/dev/null 2>&1 || cannot "munged: see $DIR/munged.log"
    slurmctld -c || cannot "slurmctld: see $DIR/slurmctld.log"
    sleep 1
    slurmd -N n1 && slurmd -N n2 || cannot "slurmd: see $DIR/slurmd.n1.log"
    for _ in $(seq 30); do
        [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && { echo "SLURM_CONF=$SLURM_CONF"; exit 0; }
        sleep 1
    done
    cannot "the nodes did not come up: see $DIR/slurmctld.log"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *) echo "usage: slurm.sh start | stop" >&2; exit 2 ;;
esac
