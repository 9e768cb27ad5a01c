#!/bin/bash
# Ends the cluster that start.sh has begun; munged stays.
set -uo pipefail

folder=${1:-/tmp/asediff-slurm}
scontrol shutdown
for daemon in slurmd slurmctld; do
    for _ in $(seq 20); do
        [ -e "$folder/$daemon.pid" ] || break
        sleep 0.5
    done
done
rm -f /etc/slurm/slurm.conf
