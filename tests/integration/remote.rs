//! Data in stores: the whole program reads from a small server that speaks what S3, Google Cloud Storage and HTTP
//! servers speak, and must reach the bytes that it reaches from local files.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Run, stderr};

/// Keys in one page of a listing.
const PAGE: usize = 2;
/// Steps of the tiny config.
const STEPS: u64 = 12;

#[derive(Default)]
struct Shared {
    /// By bucket and key.
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Method, target, range and credential of every request.
    requests: Mutex<Vec<String>>,
    /// So many times the answer to a GET of an object is 503.
    refusals: AtomicUsize,
    /// So many times the answer to a GET of an object ends in the middle.
    cuts: AtomicUsize,
    /// Whether every object has changed between the HEAD and the GET.
    changes: bool,
}

/// Serves until the test ends.
struct Server {
    address: String,
    shared: Arc<Shared>,
}

impl Server {
    fn start(shared: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(shared);
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                // A client that goes away in the middle is none of the server's business.
                thread::spawn(move || {
                    let _ = answer(&shared, stream);
                });
            }
        });
        Self { address, shared }
    }

    /// Serves the files of `folder` as `bucket/prefix/...`.
    fn add(&self, folder: &Path, prefix: &str) {
        let mut objects = self.shared.objects.lock().unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            objects.insert(format!("{prefix}/{name}"), std::fs::read(&path).unwrap());
        }
    }

    fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Runs the program on `run` with this server as every store.
    fn run(&self, run: &Run, args: &[&str]) -> Output {
        let account = run.path("account.json");
        let text = format!(
            r#"{{"gcs_base_url": "http://{}", "disable_oauth": true, "client_email": "", "private_key": "",
                "private_key_id": ""}}"#,
            self.address
        );
        std::fs::write(&account, text).unwrap();
        let mut command = run.command(args);
        command.env("AWS_ENDPOINT", format!("http://{}", self.address));
        command
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "here");
        command.env("AWS_ACCESS_KEY_ID", "the-key");
        command.env("AWS_SECRET_ACCESS_KEY", "the-secret");
        command.env("GOOGLE_SERVICE_ACCOUNT", account);
        command.env("NO_PROXY", "127.0.0.1");
        command.output().unwrap()
    }

    fn ok(&self, run: &Run, args: &[&str]) -> String {
        let output = self.run(run, args);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    }
}

/// Counts down to 0; whether it was above.
fn takes_one(count: &AtomicUsize) -> bool {
    let down = |count: usize| count.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, down)
        .is_ok()
}

/// What a client asks for.
struct Request {
    method: String,
    /// Without the address, slashes at its ends, and `%`.
    path: String,
    query: String,
    /// `bytes=begin-end`.
    range: String,
}

impl Request {
    /// Reads and notes it.
    fn read(shared: &Shared, stream: &TcpStream) -> std::io::Result<Self> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let headers: Vec<String> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        let header = |wanted: &str| {
            let mut headers = headers.iter().filter_map(|line| line.split_once(": "));
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (range, credential) = (header("range"), header("authorization"));
        let note = format!("{first} {range} {credential}");
        shared.requests.lock().unwrap().push(note);
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Ok(Self {
            method,
            path: decoded(path.trim_matches('/')),
            query: query.to_owned(),
            range,
        })
    }
}

fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let request = Request::read(shared, &stream)?;
    if request.query.contains("list-type=2") {
        let page = list(shared, &request.path, &request.query);
        return respond(&mut stream, "200 OK", "", page.as_bytes());
    }
    let object = shared.objects.lock().unwrap().get(&request.path).cloned();
    let Some(bytes) = object else {
        return respond(&mut stream, "404 Not Found", "", b"");
    };
    if request.method == "HEAD" {
        return announce(&mut stream, "200 OK", &edition(0), bytes.len());
    }
    if takes_one(&shared.refusals) {
        return respond(&mut stream, "503 Slow Down", "", b"");
    }
    let edition = edition(usize::from(shared.changes));
    let range = request.range.strip_prefix("bytes=").unwrap();
    let (begin, end) = range.split_once('-').unwrap();
    let (begin, end): (usize, usize) = (begin.parse().unwrap(), end.parse().unwrap());
    let part = &bytes[begin..=end];
    let headers = format!(
        "{edition}Content-Range: bytes {begin}-{end}/{}\r\n",
        bytes.len()
    );
    if takes_one(&shared.cuts) {
        announce(&mut stream, "206 Partial Content", &headers, part.len())?;
        return stream.write_all(&part[..part.len() / 2]);
    }
    respond(&mut stream, "206 Partial Content", &headers, part)
}

/// The headers that tell contents apart.
fn edition(number: usize) -> String {
    format!("ETag: \"edition-{number}\"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n")
}

/// The head of an answer with a body of `length` bytes.
fn announce(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    length: usize,
) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
    )
}

fn respond(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    announce(stream, status, headers, body.len())?;
    stream.write_all(body)
}

/// `text` without the `%` of addresses.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (code, rest) = part.split_at(2);
        let sign = u8::from_str_radix(code, 16).unwrap();
        format!("{text}{}{rest}", char::from(sign))
    })
}

/// One page of `bucket`, in the XML of S3's ListObjectsV2.
fn list(shared: &Shared, bucket: &str, query: &str) -> String {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(key, _)| *key == name).map(|(_, value)| value);
        decoded(value.unwrap_or_default())
    };
    let prefix = format!("{bucket}/{}", parameter("prefix"));
    let after: usize = parameter("continuation-token").parse().unwrap_or(0);
    let is_shallow = !parameter("delimiter").is_empty();
    let objects = shared.objects.lock().unwrap();
    let matching = objects.iter().filter(|(key, _)| {
        let rest = key.strip_prefix(&prefix);
        rest.is_some_and(|rest| !is_shallow || !rest.contains('/'))
    });
    let matching: Vec<_> = matching.collect();
    let page = matching.iter().skip(after).take(PAGE);
    let contents: String = page
        .map(|(key, bytes)| {
            let key = key.strip_prefix(&format!("{bucket}/")).unwrap();
            format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"edition-0\"</ETag>\
                 <LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>",
                bytes.len()
            )
        })
        .collect();
    let next = after + PAGE;
    let more = if next < matching.len() {
        format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
        )
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    format!(r#"<?xml version="1.0"?><ListBucketResult>{contents}{more}</ListBucketResult>"#)
}

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
