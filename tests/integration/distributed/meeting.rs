//! The meeting of ranks, with whoever else may be at the port: it ends in time, and names who did not come.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use recap_train::distributed::store::Server;
use rustix::process::{Pid, Signal, kill_process};

use super::{Rank, assert_others_say, free_port, stderr, wait};

/// The timeout of the roles, and what the promise adds to it.
const PROMISED: Duration = Duration::from_secs(6 + 10);

/// One rank that is told that rank 0, or an agent, is at `port`.
fn alone(rank: usize, port: u16, variables: &[(&str, &str)]) -> (Output, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let rank = Rank::start("collectives", rank, 2, port, folder.path(), variables);
    let output = wait(vec![rank], None).remove(0);
    (output, begin.elapsed())
}

fn fails_in_time(ended: &(Output, Duration), words: &[&str]) {
    let (output, took) = ended;
    let text = stderr(output);
    assert!(!output.status.success(), "{text}");
    assert!(*took < PROMISED, "{took:?}: {text}");
    for words in words {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

/// A stranger at a port, who treats every connection with `treat`.
fn stranger(treat: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().for_each(treat));
    port
}

#[test]
fn a_frozen_rank_0_is_named_in_time() {
    // The system takes connections for a process that does nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = alone(1, listener.local_addr().unwrap().port(), &[]);
    let words = ["where rank 0 serves their store"];
    fails_in_time(&ended, &words);
}

#[test]
fn a_stranger_who_keeps_the_line_is_given_up_in_time() {
    let port = stranger(std::mem::forget);
    let agent = [("TORCHELASTIC_USE_AGENT_STORE", "True")];
    fails_in_time(&alone(0, port, &agent), &["where the launcher serves"]);
}

#[test]
fn a_stranger_who_talks_is_told_from_a_store_at_once() {
    let port = stranger(|mut connection| {
        let _ = connection.read(&mut [0; 64]);
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let ended = alone(1, port, &[]);
    fails_in_time(&ended, &["cannot meet the others"]);
    // A store that promises a gigabyte takes none.
    let port = stranger(|mut connection| {
        let mut greeting = [0; 10];
        let _ = connection.read_exact(&mut greeting);
        let _ = connection.write_all(&greeting[6..]);
        loop {
            let mut request = [0; 1 << 10];
            if connection.read(&mut request).unwrap_or(0) == 0 {
                return;
            }
            let _ = connection.write_all(&[0xff; 64]);
        }
    });
    fails_in_time(&alone(1, port, &[]), &["cannot meet the others"]);
}

#[test]
fn nobody_at_the_port_and_a_name_that_leads_nowhere_end_in_time() {
    let words = ["nobody takes a connection", "MASTER_ADDR", "rank 0 serves"];
    fails_in_time(&alone(1, free_port(), &[]), &words);
    let nowhere = [("MASTER_ADDR", "no-such-host.invalid")];
    for rank in [0, 1] {
        let ended = alone(rank, free_port(), &nowhere);
        let words = "MASTER_ADDR=\"no-such-host.invalid\" leads to no address";
        fails_in_time(&ended, &[words]);
        assert!(!stderr(&ended.0).contains("cannot be served"));
    }
}

#[test]
fn a_rank_0_that_dies_at_the_meeting_ends_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::start(listener, None, 2).unwrap();
    let dying = thread::spawn(move || {
        // As long as a rank takes to be there.
        thread::sleep(Duration::from_secs(2));
        drop(server);
    });
    fails_in_time(&alone(1, port, &[]), &["rank 0"]);
    dying.join().unwrap();
}

#[test]
fn a_taken_port_is_named_by_rank_0() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = alone(0, port, &[]);
    let words = format!("port {port} cannot be served");
    fails_in_time(&ended, &[&words]);
}

#[test]
fn ranks_that_were_told_other_numbers_of_ranks_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let start =
        |rank, world_size| Rank::start("collectives", rank, world_size, port, folder.path(), &[]);
    let outputs = wait(vec![start(0, 3), start(1, 2)], None);
    assert_others_say(&outputs, usize::MAX, "WORLD_SIZE=2 instead of 3");
}

#[test]
fn two_processes_with_one_rank_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    // Nobody begins without rank 2, so that the second rank 1 does not come too late.
    let start = |rank| Rank::start("collectives", rank, 3, port, folder.path(), &[]);
    let outputs = wait(vec![start(0), start(1), start(1)], None);
    let texts: String = outputs.iter().map(stderr).collect();
    assert_eq!(texts.matches("is rank 1 already").count(), 1, "{texts}");
}

#[test]
fn who_does_not_know_the_secret_stays_outside() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let start = |rank: usize, secret| {
        let variables = [("RECAP_STORE_SECRET", secret)];
        Rank::start("collectives", rank, 2, port, folder.path(), &variables)
    };
    let outputs = wait(vec![start(0, "one"), start(1, "two")], None);
    let texts = [stderr(&outputs[0]), stderr(&outputs[1])];
    assert!(texts[0].contains("no sign of rank 1"), "{}", texts[0]);
    assert!(texts[1].contains("RECAP_STORE_SECRET"), "{}", texts[1]);
    let outputs = wait(vec![start(0, "one"), start(1, "one")], None);
    super::assert_all_succeed(&outputs);
}

/// What fault-finders and bad neighbours send.
fn send(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut line = TcpStream::connect(("127.0.0.1", port)).unwrap();
    line.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let _ = line.write_all(bytes);
    let mut answer = Vec::new();
    let _ = line.read_to_end(&mut answer);
    answer
}

#[test]
fn a_served_store_cuts_off_who_speaks_nonsense() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(listener, None, 2).unwrap();
    let port = server.address().port();
    let hello = [&[0][..], &0x3C85_F7CE_u32.to_le_bytes()].concat();
    let huge = [&hello[..], &[1], &u64::MAX.to_le_bytes()].concat();
    let many = [&hello[..], &[10], &(1_u64 << 40).to_le_bytes()].concat();
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &huge,
        &many,
        &[0, 1, 2, 3, 4],
    ] {
        assert_eq!(send(port, nonsense), b"", "{nonsense:?}");
    }
    let ping = [&hello[..], &[13, 1, 2, 3, 4], &[99]].concat();
    assert_eq!(send(port, &ping), [1, 2, 3, 4]);
}

#[test]
fn a_rank_frozen_before_the_meeting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let begin = Instant::now();
    // One that is frozen as soon as it is started, one that is never started.
    let ranks = [0, 1, 2].map(|rank| {
        let rank = Rank::start("collectives", rank, 4, port, folder.path(), &[]);
        (Pid::from_child(&rank.child), rank)
    });
    kill_process(ranks[2].0, Signal::STOP).unwrap();
    let ranks = ranks.map(|(_, rank)| rank);
    let outputs = wait(ranks.into(), Some(2));
    assert!(begin.elapsed() < PROMISED, "{:?}", begin.elapsed());
    assert_others_say(&outputs, 2, "no sign of rank 2, 3 within 6 s");
    assert_eq!(stderr(&outputs[2]), "", "it had begun before it was frozen");
}
