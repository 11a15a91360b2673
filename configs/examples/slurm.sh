#!/bin/sh
# One task per GPU, over as many nodes as you like: CONFIG=run.yaml sbatch slurm.sh
# Three minutes before the end of its time the job is told to save; it then goes to the end of the queue and resumes.
#SBATCH --job-name=recap-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x.%j.log

export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
PROGRAM=${PROGRAM:-recap-train}

# The ranks find each other by what SLURM tells every task: nothing else has to be set.
srun "$PROGRAM" --config_path="${CONFIG:?name a config: CONFIG=run.yaml sbatch slurm.sh}"
code=$?

# Interrupted, and saved.
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
