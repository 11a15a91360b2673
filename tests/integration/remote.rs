//! Data in stores: the whole program reads from a small server that speaks what S3, Google Cloud Storage and HTTP
//! servers speak, and must reach the bytes that it reaches from local files.

use std::sync::atomic::AtomicUsize;

use crate::store_server::{Server, Shared, Trick};
use crate::support::{Run, stderr};

/// Steps of the tiny config.
const STEPS: u64 = 12;

fn save_dir(run: &Run, name: &str) -> String {
    format!("--set=training.save_dir={}", run.path(name).display())
}

fn inputs(address: &str) -> String {
    format!("--set=train_data.inputs={address}")
}

#[test]
fn training_from_s3_reaches_what_training_from_files_reaches() {
    let run = Run::with_data();
    run.ok(&[]);
    let server = Server::start(Shared {
        refusals: AtomicUsize::new(1),
        cuts: AtomicUsize::new(1),
        ..Shared::default()
    });
    server.add(&run.path("data"), "bucket/train");
    server.add(&run.path("data"), "bucket/train/deeper");
    let pattern = inputs("s3://bucket/train/random-*.gz");
    server.ok(&run, &[&save_dir(&run, "remote"), &pattern]);
    assert!(
        run.checkpoint("save", STEPS) == run.checkpoint("remote", STEPS),
        "the bytes differ"
    );
    let requests = server.requests();
    let second_page = |request: &String| request.contains("continuation-token=2");
    assert!(requests.iter().any(second_page), "{requests:?}");
    assert!(
        requests
            .iter()
            .all(|request| request.contains("Credential=the-key/"))
    );
    assert!(requests.iter().all(|request| !request.contains("deeper")));
}

#[test]
fn a_position_in_a_store_is_resumed() {
    let run = Run::with_data();
    run.ok(&[]);
    let server = Server::start(Shared::default());
    server.add(&run.path("data"), "bucket/train");
    let args = [
        save_dir(&run, "remote"),
        inputs("s3://bucket/*/random-*.gz"),
    ];
    let [save, pattern] = args.each_ref().map(String::as_str);
    server.ok(&run, &[save, pattern, "--set=training.num_train_steps=5"]);
    let text = server.ok(&run, &[save, pattern]);
    assert!(text.contains("resumed"), "{text}");
    assert!(!text.contains("begins anew"), "{text}");
    assert!(
        run.checkpoint("save", STEPS) == run.checkpoint("remote", STEPS),
        "the bytes differ"
    );
}

#[test]
fn dated_folders_of_google_cloud_storage_are_read() {
    let run = Run::with_data();
    let hour = run.path("dated/2023/01/01/23");
    std::fs::create_dir_all(hour.parent().unwrap()).unwrap();
    std::fs::rename(run.path("data"), &hour).unwrap();
    let dated = |root: &str| {
        [
            "--set=train_data.inputs=null".to_owned(),
            format!(
                "--set=train_data.explicit_datetime_inputs={{data_root: '{root}', \
                 end_datetime: 2023/01/02/00, hours: 2, num_missing_hours_tol: 1}}"
            ),
            "--set=train_data.num_files_to_keep=2".to_owned(),
        ]
    };
    let local = dated(&run.path("dated").display().to_string());
    let mut args: Vec<&str> = local.iter().map(String::as_str).collect();
    let save = save_dir(&run, "local");
    args.push(&save);
    run.ok(&args);
    let server = Server::start(Shared::default());
    server.add(&hour, "bucket/root/2023/01/01/23");
    let remote = dated("gs://bucket/root");
    let mut args: Vec<&str> = remote.iter().map(String::as_str).collect();
    let save = save_dir(&run, "remote");
    args.push(&save);
    server.ok(&run, &args);
    assert!(
        run.checkpoint("local", STEPS) == run.checkpoint("remote", STEPS),
        "the bytes differ"
    );
    let requests = server.requests();
    let third = requests
        .iter()
        .any(|request| request.contains("random-00002"));
    assert!(!third, "only two files are kept: {requests:?}");
}

#[test]
fn one_file_of_an_http_server_is_read_and_with_a_cache_only_once() {
    let run = Run::with_data();
    let name = "random-00001.tfrecord.gz";
    let local = inputs(&run.path("data").join(name).display().to_string());
    run.ok(&[&local]);
    let server = Server::start(Shared::default());
    server.add(&run.path("data"), "files");
    let remote = inputs(&format!("http://{}/files/{name}", server.address));
    let args = [save_dir(&run, "remote"), remote];
    let [save, remote] = args.each_ref().map(String::as_str);
    server.ok(&run, &[save, remote, "--set=train_data.cache=true"]);
    assert!(
        run.checkpoint("save", STEPS) == run.checkpoint("remote", STEPS),
        "the bytes differ"
    );
    let requests = server.requests();
    let gets = requests.iter().filter(|request| request.starts_with("GET"));
    assert_eq!(gets.count(), 1, "three epochs: {requests:?}");
}

/// Trains from a server that plays a trick, passing over damaged records; returns stderr.
fn fails(shared: Shared, arg: &dyn Fn(&Server) -> String, code: i32) -> String {
    let run = Run::with_data();
    let server = Server::start(shared);
    server.add(&run.path("data"), "bucket/train");
    let output = server.run(
        &run,
        &[&arg(&server), "--set=train_data.ignore_data_errors=true"],
    );
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn an_object_that_changes_is_bad_data_even_where_damage_is_skipped() {
    let shared = Shared {
        changes: true,
        ..Shared::default()
    };
    let text = fails(shared, &|_| inputs("s3://bucket/train/*.gz"), 3);
    assert!(text.contains("s3://bucket/train/random-0000"), "{text}");
    assert!(
        text.contains("has changed while it was read, at byte 0"),
        "{text}"
    );
}

#[test]
fn a_store_that_refuses_for_good_is_named_after_a_few_tries() {
    let shared = Shared {
        refusals: AtomicUsize::new(usize::MAX),
        ..Shared::default()
    };
    let text = fails(shared, &|_| inputs("s3://bucket/train/*.gz"), 3);
    assert!(text.contains("s3://bucket/train/random-0000"), "{text}");
    assert!(text.contains("record 0 at byte 0"), "{text}");
    assert!(text.contains("503"), "{text}");
}

#[test]
fn what_is_not_in_a_store_or_cannot_be_listed_is_told() {
    let text = fails(Shared::default(), &|_| inputs("s3://bucket/none/*.gz"), 3);
    assert!(
        text.contains("s3://bucket/none/*.gz` matches no file"),
        "{text}"
    );
    let missing = |server: &Server| inputs(&format!("http://{}/no.gz", server.address));
    assert!(fails(Shared::default(), &missing, 3).contains("matches no file"));
    let pattern = |server: &Server| inputs(&format!("http://{}/*.gz", server.address));
    assert!(fails(Shared::default(), &pattern, 2).contains("do not list"));
}

#[test]
fn an_answer_that_is_not_the_range_asked_for_is_not_taken_in() {
    let s3 = |_: &Server| inputs("s3://bucket/train/*.gz");
    for (trick, words) in [
        (Trick::Endless, "bytes came instead of bytes 0 to"),
        (Trick::Whole, "non-partial response"),
        (Trick::OtherRange, "Requested 0.."),
    ] {
        let text = fails(Shared::with(trick), &s3, 3);
        assert!(text.contains("s3://bucket/train/random-0000"), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn an_object_whose_size_is_not_told_is_not_empty() {
    let file = |server: &Server| {
        inputs(&format!(
            "http://{}/bucket/train/random-00000.tfrecord.gz",
            server.address
        ))
    };
    let text = fails(Shared::with(Trick::NoSize), &file, 3);
    assert!(text.contains("Content-Length"), "{text}");
}

#[test]
fn what_a_request_proves_itself_with_goes_to_no_other_host() {
    let other = Server::start(Shared::default());
    let away = other.address.replace("127.0.0.1", "localhost");
    let s3 = |_: &Server| inputs("s3://bucket/train/random-00000.tfrecord.gz");
    let text = fails(Shared::with(Trick::Redirect(away.clone())), &s3, 3);
    assert!(
        text.contains("redirects to localhost, where credentials"),
        "{text}"
    );
    assert_eq!(other.requests(), Vec::<String>::new());
    // What carries nothing secret may go on: this one comes to a host that has no such file.
    let open = |server: &Server| inputs(&format!("http://{}/a/b.gz", server.address));
    let text = fails(Shared::with(Trick::Redirect(away)), &open, 3);
    assert!(text.contains("matches no file"), "{text}");
    let said = text
        .lines()
        .find(|line| line.contains("redirects to another host"));
    assert!(
        said.is_some_and(|said| said.contains("to=\"localhost\"")),
        "{text}"
    );
    assert!(!other.requests().is_empty());
    assert!(
        other
            .requests()
            .iter()
            .all(|request| !request.contains("the-"))
    );
}

#[test]
fn addresses_with_secrets_are_refused_and_shown_nowhere() {
    let run = Run::with_data();
    for address in [
        "https://me:hush@127.0.0.1:1/a.gz",
        "https://127.0.0.1:1/a.gz?X-Amz-Signature=hush",
        "s3://KEY:hu/hush@bucket/*.gz",
        "https:me:hush@127.0.0.1:1/a.gz",
        "https://me:a hush@127.0.0.1:1/a.gz",
        "https://127.0.0.1:1/a.gz#hush",
    ] {
        for args in [vec![], vec!["check"], vec!["--log_format=json"]] {
            let address = inputs(address);
            let text = run.fails(&[&args[..], &[&address]].concat(), 2);
            assert!(
                text.contains("would be logged") && !text.contains("hush"),
                "{text}"
            );
        }
        let input = format!("--inputs={address}");
        let output = run.output(&["predict", &input, "--output=p.csv"]);
        assert!(!stderr(&output).contains("hush"), "{}", stderr(&output));
    }
    assert!(!run.path("save").exists());
}

#[test]
fn the_doctor_reads_a_store_as_training_does() {
    let run = Run::with_data();
    let server = Server::start(Shared::default());
    server.add(&run.path("data"), "bucket/train");
    let there = inputs("s3://bucket/train/*.gz");
    let output = server.run(&run, &["doctor", &there]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |report: &str| {
        report
            .lines()
            .find(|line| line.contains("  data "))
            .unwrap()
            .to_owned()
    };
    assert!(line(&report).starts_with("ok"), "{report}");
    assert!(line(&report).contains("train_data: 3 files"), "{report}");
    server.play(Trick::OtherRange);
    let output = server.run(&run, &["doctor", &there]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(line(&report).starts_with("fail"), "{report}");
    assert!(
        line(&report).contains("s3://bucket/train/random-00000"),
        "{report}"
    );
}

#[test]
fn only_data_may_lie_in_a_store_and_a_tilde_is_the_home() {
    let run = Run::with_data();
    for key in ["training.save_dir", "training.initial_checkpoint_dir"] {
        let text = run.fails(&["--set", &format!("{key}=s3://bucket/runs")], 2);
        assert!(
            text.contains(key) && text.contains("only data may lie in a store"),
            "{text}"
        );
    }
    let cache = [
        "--set=train_data.cache=true",
        "--set=train_data.cache_dir=gs://bucket/cache",
    ];
    assert!(
        run.fails(&cache, 2)
            .contains("only data may lie in a store")
    );
    let text = run.fails(&["generate", "--output_dir=s3://bucket/data"], 2);
    assert!(text.contains("only data may lie in a store"), "{text}");
    std::fs::rename(run.path("data"), run.path("home-data")).unwrap();
    let args = [
        "--set=training.save_dir=~/runs/a",
        "--set=train_data.inputs=~/home-data/*.gz",
    ];
    let output = run
        .command(&args)
        .env("HOME", run.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(run.path("runs/a/12").is_dir());
}
