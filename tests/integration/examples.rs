//! The examples in `configs/examples` do what they say: cron's line, SLURM's script, a pipeline's script.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Run, fixtures, stderr};

const PROGRAM: &str = env!("CARGO_BIN_EXE_recap-train");

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("configs/examples")
        .join(name)
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The line of the crontab as cron runs it: `sh -c`, next to no environment, its variables.
fn cron(run: &Run, config: &str) -> Output {
    let text = std::fs::read_to_string(example("crontab")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("0 2 * * * "))
        .unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", line]).env_clear();
    command
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", run.path(""))
        .env("LOGNAME", "nobody");
    command
        .env("PROGRAM", PROGRAM)
        .env("RUN", run.path(""))
        .env("CONFIG", config);
    // What this test's config needs.
    command
        .env(
            "RUN_DIR",
            run.path("").to_str().unwrap().trim_end_matches('/'),
        )
        .env("FIXTURES", fixtures());
    command.output().unwrap()
}

#[test]
fn cron_trains_in_silence_and_complains_of_failures() {
    let run = Run::with_data();
    let output = cron(&run, "config.yaml");
    let log = std::fs::read_to_string(run.path("cron.log")).unwrap();
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "cron would send a mail: {output:?}"
    );
    assert!(log.contains("finished training"), "{log}");
    assert!(run.path("save/12").is_dir());
    let failed = cron(&run, "no.yaml");
    let mail = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(mail.contains("training failed with 2"), "{failed:?}");
}

/// Starts the tasks of a job as srun does, with the variables that SLURM sets, and reports the highest exit code.
const SRUN: &str = r#"#!/bin/sh
export SLURM_STEP_ID=0 SLURM_NTASKS=2 SLURM_STEP_TASKS_PER_NODE=2 SLURM_STEP_NODELIST=localhost SLURM_NODEID=0
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
trap 'kill -TERM $first $second' TERM
wait $first; a=$?; wait $second; b=$?
[ $a -gt $b ] && exit $a
exit $b
"#;

/// `sbatch configs/examples/slurm.sh` on one node, with two tasks.
fn sbatch(run: &Run, srun: &str, args: &[&str]) -> Output {
    let bin = run.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    script(&bin.join("srun"), srun);
    script(
        &bin.join("scontrol"),
        "#!/bin/sh\necho \"$@\" >\"$RUN_DIR/scontrol.log\"\n",
    );
    // The program, with what this test wants to say beside the script's own words.
    let words = args.join(" ");
    script(
        &bin.join("program"),
        &format!("#!/bin/sh\nexec {PROGRAM} \"$@\" {words}\n"),
    );
    // Jobs meet at a port that follows from their number.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = run.command(&[]);
    let mut sh = Command::new("sh");
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => sh.env(key, value),
            None => sh.env_remove(key),
        };
    }
    command = sh;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    command
        .arg(example("slurm.sh"))
        .env("PATH", path)
        .env("PROGRAM", bin.join("program"));
    command
        .env("CONFIG", run.path("config.yaml"))
        .env("SLURM_JOB_ID", "4711");
    command
        .env("SLURM_CPUS_PER_TASK", "1")
        .env("MASTER_PORT", port.to_string());
    command.output().unwrap()
}

#[test]
fn slurm_trains_with_two_tasks() {
    let run = Run::with_data();
    let output = sbatch(&run, SRUN, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let log = stderr(&output);
    assert!(
        log.contains("world_size=2") || log.contains("global_step=24"),
        "{log}"
    );
    assert!(run.path("save/24").is_dir(), "12 steps of 2 ranks: {log}");
    assert!(!run.path("scontrol.log").exists());
}

#[test]
fn slurm_puts_an_interrupted_job_back_into_the_queue() {
    let run = Run::with_data();
    let interrupted = "#!/bin/sh\nexit 75\n";
    assert!(sbatch(&run, interrupted, &[]).status.success());
    let asked = std::fs::read_to_string(run.path("scontrol.log")).unwrap();
    assert_eq!(asked.trim(), "requeue 4711");
    let failed = sbatch(&run, SRUN, &["--set", "train_data.inputs=/no"]);
    assert_eq!(failed.status.code(), Some(3), "{}", stderr(&failed));
}

#[test]
fn the_script_for_a_pipeline_passes_and_fails() {
    let run = Run::with_data();
    let sh = |config: &Path| {
        let mut command = Command::new("sh");
        command
            .arg(example("ci.sh"))
            .env("PROGRAM", PROGRAM)
            .env("CONFIG", config);
        command
            .env("RUN_DIR", run.path(""))
            .env("FIXTURES", fixtures())
            .env("OMP_WAIT_POLICY", "PASSIVE");
        command.env_remove("RUST_LOG").output().unwrap()
    };
    let output = sh(&run.path("config.yaml"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", stderr(&output));
    assert!(
        said.ends_with("the config trains, saves and resumes\n"),
        "{said}"
    );
    let wrong = std::fs::read_to_string(run.path("config.yaml"))
        .unwrap()
        .replace("output_size: 6", "output_size: -6");
    std::fs::write(run.path("wrong.yaml"), wrong).unwrap();
    assert_eq!(sh(&run.path("wrong.yaml")).status.code(), Some(2));
}
