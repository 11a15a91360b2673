//! The launcher, with shell scripts for ranks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use recap_train::distributed::launcher::Launcher;

fn launcher(script: &str, num_processes: usize) -> Launcher {
    Launcher::new(
        "/bin/sh".into(),
        vec!["-c".into(), script.into()],
        num_processes,
    )
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn every_rank_learns_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let script = format!(
        "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $MASTER_ADDR > {path}/$RANK; echo $MASTER_PORT > {path}/port$RANK"
    );
    assert_eq!(launcher(&script, 3).run().unwrap(), 0);
    for rank in 0..3 {
        let place = read(folder.path(), &rank.to_string());
        assert_eq!(place, format!("{rank}/3 {rank}/3 127.0.0.1"));
        assert_eq!(
            read(folder.path(), &format!("port{rank}")),
            read(folder.path(), "port0")
        );
    }
}

#[test]
fn the_first_failure_ends_the_others_and_is_the_exit_code() {
    let script = "[ $RANK = 1 ] && exit 7; exec sleep 1000";
    assert_eq!(launcher(script, 3).run().unwrap(), 7);
    let script = "[ $RANK = 1 ] && kill -KILL $$; exec sleep 1000";
    assert_eq!(launcher(script, 2).run().unwrap(), 128 + 9);
}

#[test]
fn interrupted_ranks_are_not_interrupted_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    // Rank 1 ends first; a signal would keep rank 0 from saying that it was left alone.
    let script = format!(
        "[ $RANK = 1 ] && {{ touch {path}/ended; exit 75; }}; until [ -e {path}/ended ]; do sleep 0.05; done; \
         sleep 0.3; touch {path}/alone; exit 75"
    );
    let mut launcher = launcher(&script, 2);
    launcher.interrupted = Some(75);
    assert_eq!(launcher.run().unwrap(), 75);
    assert!(folder.path().join("alone").exists());
}

#[test]
fn a_rank_that_ignores_the_end_is_killed() {
    let script = "trap '' TERM; [ $RANK = 1 ] && exit 7; exec sleep 1000";
    let mut launcher = launcher(script, 2);
    launcher.grace = Duration::from_millis(300);
    assert_eq!(launcher.run().unwrap(), 7);
}

#[test]
fn ranks_that_ignore_a_signal_are_killed_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let script = format!(
        "trap '' TERM; touch {path}/listens$RANK; [ $RANK = 0 ] && {{ until [ -e {path}/listens1 ]; do sleep 0.05; done; \
         kill -TERM $PPID; }}; exec sleep 1000"
    );
    let mut command = super::again("launch in no time", folder.path());
    let output = command.env("RECAP_TEST_SCRIPT", script).output().unwrap();
    let text = super::stderr(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(read(folder.path(), "code"), "1");
    let words = "rank 0, 1 did not end within 10 s after SIGTERM: killed";
    assert!(text.contains(words), "{text}");
}

#[test]
fn ranks_that_are_all_frozen_before_they_meet_are_killed() {
    let mut launcher = launcher("kill -STOP $$", 2);
    launcher.timeout = Duration::ZERO;
    assert_eq!(launcher.run().unwrap(), 1);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = Launcher::new("/nowhere/recap".into(), vec![], 2)
        .run()
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot start rank 0: /nowhere/recap");
}

#[test]
fn signals_reach_every_rank() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    // Rank 0 waits until rank 1 listens, and then ends the launcher in the way a scheduler would.
    let script = format!(
        "trap 'touch {path}/term$RANK; exit 3' TERM; touch {path}/listens$RANK; \
         [ $RANK = 0 ] && {{ until [ -e {path}/listens1 ]; do sleep 0.05; done; kill -TERM $PPID; }}; \
         while :; do sleep 0.05; done"
    );
    let mut command = super::again("launch", folder.path());
    let output = command.env("RECAP_TEST_SCRIPT", script).output().unwrap();
    assert!(output.status.success(), "{}", super::stderr(&output));
    assert_eq!(read(folder.path(), "code"), "3");
    assert!(folder.path().join("term0").exists());
    assert!(folder.path().join("term1").exists());
}

/// The launcher as a process of its own, whose two ranks play `role`.
fn launch_ranks(role: &str, folder: &Path) -> std::process::Output {
    let binary = std::env::current_exe().unwrap();
    let script = format!(
        "RECAP_TEST_ROLE='{role}' exec {} --exact distributed::roles::rank_process --nocapture",
        binary.display()
    );
    let mut command = super::again("launch", folder);
    // Returns when the last process that can still write is gone: the ranks, too.
    command.env("RECAP_TEST_SCRIPT", script).output().unwrap()
}

#[test]
fn launched_ranks_work_together() {
    let folder = tempfile::tempdir().unwrap();
    let output = launch_ranks("collectives", folder.path());
    assert!(output.status.success(), "{}", super::stderr(&output));
    assert_eq!(read(folder.path(), "code"), "0");
}

#[test]
fn ranks_end_when_their_launcher_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let output = launch_ranks("kill the launcher", folder.path());
    let text = super::stderr(&output);
    let is_verdict = |line: &&str| {
        line.contains("ERROR") && line.contains("the launcher, which serves the store, is gone")
    };
    assert_eq!(text.lines().filter(is_verdict).count(), 2, "{text}");
}
