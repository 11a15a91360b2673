//! A small server that speaks what S3, Google Cloud Storage and HTTP servers speak, well or not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Run, stderr};

/// Keys in one page of a listing.
const PAGE: usize = 2;
#[derive(Default)]
pub(crate) struct Shared {
    /// By bucket and key.
    pub(crate) objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Method, target, range and credential of every request.
    pub(crate) requests: Mutex<Vec<String>>,
    /// So many times the answer to a GET of an object is 503.
    pub(crate) refusals: AtomicUsize,
    /// So many times the answer to a GET of an object ends in the middle.
    pub(crate) cuts: AtomicUsize,
    /// Whether every object has changed between the HEAD and the GET.
    pub(crate) changes: bool,
    pub(crate) trick: Mutex<Trick>,
    /// Requests that a trick is about.
    pub(crate) met: AtomicUsize,
}

/// What a server does instead of answering well.
#[derive(Clone, Default)]
pub(crate) enum Trick {
    #[default]
    None,
    /// Requests whose method and path contain this get no answer as long as the trick lasts, except so many first ones.
    Hang(&'static str, usize),
    /// Sends a body without end.
    Endless,
    /// Sends everything where a range is asked for.
    Whole,
    /// Sends another range than the one asked for.
    OtherRange,
    /// Has no size for a HEAD.
    NoSize,
    /// Sends everybody to this host.
    Redirect(String),
}

/// Serves until the test ends.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) shared: Arc<Shared>,
}

impl Server {
    pub(crate) fn start(shared: Shared) -> Self {
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
    pub(crate) fn add(&self, folder: &Path, prefix: &str) {
        let mut objects = self.shared.objects.lock().unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            objects.insert(format!("{prefix}/{name}"), std::fs::read(&path).unwrap());
        }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Runs the program on `run` with this server as every store.
    pub(crate) fn run(&self, run: &Run, args: &[&str]) -> Output {
        self.command(run, args).output().unwrap()
    }

    /// The program on `run` with this server as every store, not started yet.
    pub(crate) fn command(&self, run: &Run, args: &[&str]) -> Command {
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
        command.env("AWS_SESSION_TOKEN", "the-token");
        command.env("NO_PROXY", "127.0.0.1,localhost");
        command
    }

    pub(crate) fn ok(&self, run: &Run, args: &[&str]) -> String {
        let output = self.run(run, args);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    }
}

impl Shared {
    pub(crate) fn with(trick: Trick) -> Self {
        Self {
            trick: Mutex::new(trick),
            ..Self::default()
        }
    }

    fn wait_while_hanging(&self, request: &str) {
        let hang = || match &*self.trick.lock().unwrap() {
            Trick::Hang(part, allowed) if request.contains(part) => Some(*allowed),
            _ => None,
        };
        if hang().is_none() {
            return;
        }
        let number = self.met.fetch_add(1, Ordering::SeqCst);
        while hang().is_some_and(|allowed| number >= allowed) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Server {
    /// Waits until `count` requests have come whose notes begin with `part`; the deadline only catches hangs.
    pub(crate) fn wait_for(&self, part: &str, count: usize) {
        let begin = Instant::now();
        let has_part = |request: &&String| request.starts_with(part);
        while self.requests().iter().filter(has_part).count() < count {
            let requests = self.requests();
            assert!(
                begin.elapsed().as_secs() < 120,
                "not {count} times {part}: {requests:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn play(&self, trick: Trick) {
        self.shared.met.store(0, Ordering::SeqCst);
        self.shared.requests.lock().unwrap().clear();
        *self.shared.trick.lock().unwrap() = trick;
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
        let (token, referer) = (header("x-amz-security-token"), header("referer"));
        let note = format!("{first} {range} {credential} {token} {referer}");
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
    shared.wait_while_hanging(&format!("{} {}", request.method, request.path));
    let trick = shared.trick.lock().unwrap().clone();
    if let Trick::Redirect(host) = &trick {
        let there = format!("Location: http://{host}/{}\r\n", request.path);
        return respond(&mut stream, "307 Temporary Redirect", &there, b"");
    }
    if request.query.contains("list-type=2") {
        let page = list(shared, &request.path, &request.query);
        return respond(&mut stream, "200 OK", "", page.as_bytes());
    }
    let object = shared.objects.lock().unwrap().get(&request.path).cloned();
    let Some(bytes) = object else {
        return respond(&mut stream, "404 Not Found", "", b"");
    };
    if request.method == "HEAD" {
        if matches!(trick, Trick::NoSize) {
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\n{}Connection: close\r\n\r\n",
                edition(0)
            );
        }
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
    match trick {
        Trick::Whole => return respond(&mut stream, "200 OK", &edition, &bytes),
        Trick::OtherRange => {
            let headers = format!("{edition}Content-Range: bytes 0-0/{}\r\n", bytes.len());
            return respond(&mut stream, "206 Partial Content", &headers, &bytes[..1]);
        }
        Trick::Endless => {
            announce(&mut stream, "206 Partial Content", &headers, 1 << 40)?;
            loop {
                stream.write_all(&[0; 1 << 16])?;
            }
        }
        _ => {}
    }
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
