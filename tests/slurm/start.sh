#!/bin/bash
# A SLURM cluster of one node on this machine, for the tests marked `slurm`; needs root, and a machine to throw away.
#
#   apt-get install --no-install-recommends slurm-wlm munge
#   bash tests/slurm/start.sh [FOLDER]      # configuration, state and logs; /tmp/asediff-slurm by default
#   bash tests/slurm/stop.sh [FOLDER]
#
# No systemd, no cgroups, no accounting. Replaces /etc/slurm/slurm.conf.
set -euo pipefail

folder=${1:-/tmp/asediff-slurm}
host=$(hostname -s)
mkdir -p "$folder"/{state,spool,log}

if ! munge --no-input > /dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || mungekey --create --keyfile /etc/munge/munge.key
    install -d -o munge -g munge -m 0755 /run/munge
    chown -R munge: /etc/munge /var/lib/munge /var/log/munge
    chmod 0400 /etc/munge/munge.key
    runuser -u munge -- munged
fi

cat > "$folder/slurm.conf" << EOF
ClusterName=asediff
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
mkdir -p /etc/slurm
cp "$folder/slurm.conf" /etc/slurm/slurm.conf

slurmctld
slurmd
for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ]; then
        sinfo
        exit 0
    fi
    sleep 0.5
done
echo "start.sh: no idle node after 30 s; see $folder/log" >&2
exit 1
