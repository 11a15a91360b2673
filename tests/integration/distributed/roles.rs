//! What a rank does in each test.

use std::rc::Rc;
use std::time::Duration;

use recap_train::distributed::env::Launch;
use recap_train::distributed::launcher::Launcher;
use recap_train::distributed::store::Stop;
use recap_train::distributed::timeline::{Event, EventKind, Overlap};
use recap_train::distributed::{self, Card, Collective, DataParallel, Fact, Terms};
use rustix::process::{Signal, getpid, getppid, kill_process};
use tch::{Device, Kind, Tensor};

const TIMEOUT: Duration = Duration::from_secs(6);

/// The entry of every process that a test starts; nothing in a usual test run.
#[test]
fn rank_process() {
    let Ok(role) = std::env::var("RECAP_TEST_ROLE") else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    if role.starts_with("launch") {
        let script = std::env::var("RECAP_TEST_SCRIPT").unwrap();
        let mut launcher = Launcher::new("/bin/sh".into(), vec!["-c".into(), script.into()], 2);
        if role == "launch in no time" {
            launcher.timeout = Duration::ZERO;
        }
        let code = launcher.run().unwrap();
        std::fs::write(folder().join("code"), code.to_string()).unwrap();
        return;
    }
    if role == "train alone" {
        tch::manual_seed(100);
        return save(
            "alone.bin",
            &train(&distributed::connect(None, &terms(&Card::default())).unwrap()),
        );
    }
    let launch = Launch::from_env(|name| std::env::var(name).ok())
        .unwrap()
        .unwrap();
    let card = card(&role, launch.place.rank);
    let group = distributed::connect(Some(&launch), &terms(&card));
    let group = group.unwrap_or_else(|error| panic!("{}", in_words(&error)));
    tch::manual_seed(i64::try_from(100 + group.rank()).unwrap());
    play(&role, &group);
    group.leave().unwrap_or_else(|error| panic!("{error}"));
}

/// With its causes, as the program prints it.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

fn terms(card: &Card) -> Terms<'_> {
    Terms {
        device: Device::Cpu,
        timeout: TIMEOUT,
        card,
        stop: Stop::never(),
    }
}

/// What the rank says of itself.
fn card(role: &str, rank: usize) -> Card {
    let digest = match role {
        "other config" => format!("digest-{rank}"),
        _ => "digest".to_owned(),
    };
    let config = Fact {
        name: "config".to_owned(),
        value: digest,
        must_agree: true,
        remedy: "give all ranks the same".to_owned(),
        ..Fact::default()
    };
    let problem = (role == "problem 1" && rank == 1).then(|| "no files\nat all".to_owned());
    Card {
        facts: vec![config],
        problem,
        ..Card::default()
    }
}

fn folder() -> std::path::PathBuf {
    std::env::var_os("RECAP_TEST_FOLDER").unwrap().into()
}

fn save(name: &str, numbers: &[f32]) {
    let bytes: Vec<_> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    std::fs::write(folder().join(name), bytes).unwrap();
}

fn play(role: &str, group: &Rc<dyn Collective>) {
    let rank = group.rank();
    let (act, number) = role.rsplit_once(' ').unwrap_or((role, ""));
    let is_me = number == rank.to_string();
    match (act, number) {
        ("train", _) => save(&format!("{rank}.bin"), &train(group)),
        ("collectives", _) => collectives(group),
        ("other", "shape") => disagree(group, if rank == 2 { 4 } else { 3 }),
        ("other", "config") | ("problem", "1") => panic!("the ranks began"),
        ("kill", _) => reduce_until(group, is_me, || signal(Signal::KILL)),
        ("freeze", _) => reduce_until(group, is_me, || signal(Signal::STOP)),
        ("stay away", _) => reduce_until(group, is_me, || {
            loop {
                std::thread::park();
            }
        }),
        ("fail", _) => reduce_until(group, is_me, || {
            group.fail("no file part-7", 3);
            panic!("the last words of the failing rank");
        }),
        ("kill the", "launcher") => reduce_until(group, rank == 0, || {
            kill_process(getppid().unwrap(), Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }),
        ("drift", _) => drift(group),
        ("overlap", _) => overlap(group),
        ("kill in backward", _) => kill_in_backward(group, is_me),
        _ => panic!("unknown role {role}"),
    }
}

fn signal(signal: Signal) {
    kill_process(getpid(), signal).unwrap();
}

/// The last rank's parameters change by one bit.
fn drift(group: &Rc<dyn Collective>) {
    let weights = weights();
    let parallel = DataParallel::new(Rc::clone(group), &weights).unwrap();
    assert_eq!(parallel.first_difference().unwrap(), None);
    if group.rank() + 1 == group.world_size() {
        let mut bits = weights[1].1.detach().view_dtype(Kind::Int).get(7).get(9);
        let _ = bits.bitwise_xor_(1);
    }
    let different = parallel.first_difference().unwrap();
    assert_eq!(different, Some("mlp.1.weight"));
}

/// Works with the others; at the third time, this rank has an accident if `is_me`.
fn reduce_until(group: &Rc<dyn Collective>, is_me: bool, accident: impl Fn()) {
    for step in 0..1000 {
        if is_me && step == 3 {
            accident();
        }
        let tensor = Tensor::ones([1000], (Kind::Float, Device::Cpu));
        group
            .all_reduce_mean(&tensor)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Three layers, the first step's buckets hold one and two of them.
fn weights() -> Vec<(String, Tensor)> {
    let weight = |layer: i64| {
        let values = Tensor::randn([512, 512], (Kind::Float, Device::Cpu)) * 0.05;
        (
            format!("mlp.{layer}.weight"),
            values.set_requires_grad(true),
        )
    };
    (0..3).map(weight).collect()
}

fn loss(weights: &[(String, Tensor)], inputs: &Tensor) -> Tensor {
    let hidden = weights
        .iter()
        .fold(inputs.shallow_clone(), |hidden, (_, weight)| {
            hidden.matmul(weight).tanh()
        });
    (hidden - 1.0).square().mean(Kind::Float)
}

/// Three steps of two micro batches over 24 examples; returns the last gradients, then the parameters.
fn train(collective: &Rc<dyn Collective>) -> Vec<f32> {
    let weights = weights();
    let parallel = DataParallel::new(Rc::clone(collective), &weights).unwrap();
    let (rank, world_size) = (collective.rank(), collective.world_size());
    let share = i64::try_from(24 / world_size).unwrap();
    let start = share * i64::try_from(rank).unwrap();
    for step in 0..3 {
        tch::manual_seed(step);
        let micro_batch =
            || Tensor::randn([24, 512], (Kind::Float, Device::Cpu)).narrow(0, start, share);
        let run = |inputs: &Tensor| {
            let loss = loss(&weights, inputs);
            parallel.prepare_for_backward().unwrap();
            loss.backward();
        };
        for (_, weight) in &weights {
            weight.shallow_clone().zero_grad();
        }
        let first = micro_batch();
        parallel.no_sync(|| run(&first));
        assert_local(collective, &weights[0].1.grad());
        run(&micro_batch());
        tch::no_grad(|| {
            for (_, weight) in &weights {
                let _ = weight
                    .shallow_clone()
                    .f_sub_(&(weight.grad() * 0.1))
                    .unwrap();
            }
        });
    }
    let all = weights
        .iter()
        .map(|(_, weight)| weight.grad())
        .chain(weights.iter().map(|(_, weight)| weight.detach()));
    all.flat_map(|tensor| Vec::<f32>::try_from(tensor.reshape([-1])).unwrap())
        .collect()
}

/// The gradient is each rank's own so far.
fn assert_local(collective: &Rc<dyn Collective>, gradient: &Tensor) {
    let sum = gradient.sum(Kind::Double).double_value(&[]);
    let mut sums = collective.all_gather_bytes(&sum.to_le_bytes()).unwrap();
    sums.sort();
    sums.dedup();
    assert_eq!(sums.len(), collective.world_size());
}

/// The first bucket leaves while backward still runs: before the gradients of the layers below it are there.
fn overlap(group: &Rc<dyn Collective>) {
    let weights = weights();
    let parallel = DataParallel::new(Rc::clone(group), &weights).unwrap();
    let inputs = Tensor::randn([8, 512], (Kind::Float, Device::Cpu));
    let backward = || {
        let loss = loss(&weights, &inputs);
        parallel.prepare_for_backward().unwrap();
        parallel.start_timeline();
        parallel.backward(&loss).unwrap();
        parallel.stop_timeline()
    };
    let events = backward();
    let place = |what, number| {
        let is_it = |event: &Event| event.what == what && event.number == number;
        let place = events.iter().position(is_it);
        place.unwrap_or_else(|| panic!("no {what:?} {number} in {events:?}"))
    };
    // Parameter 2 is the last layer, which backward meets first, and fills the first bucket.
    let expected = [
        place(EventKind::Gradient, 2),
        place(EventKind::Launched, 0),
        place(EventKind::Gradient, 1),
        place(EventKind::Gradient, 0),
        place(EventKind::Launched, 1),
        place(EventKind::Reduced, 1),
    ];
    assert!(expected.is_sorted(), "{events:?}");
    assert!(place(EventKind::Launched, 0) < place(EventKind::Reduced, 0));
    let overlap = Overlap::of(&events).unwrap();
    assert_eq!((overlap.num_buckets, overlap.num_launched_early), (2, 1));
    assert_eq!(overlap.bytes, 3 * 4 * 512 * 512);
    let alone = parallel.no_sync(backward);
    assert_eq!(Overlap::of(&alone), None, "no_sync sends nothing");
}

fn kill_in_backward(group: &Rc<dyn Collective>, is_me: bool) {
    let weights = weights();
    let parallel = DataParallel::new(Rc::clone(group), &weights).unwrap();
    for step in 0..1000 {
        let inputs = Tensor::randn([8, 512], (Kind::Float, Device::Cpu));
        let loss = loss(&weights, &inputs);
        if let Err(error) = parallel.prepare_for_backward() {
            panic!("{error}");
        }
        if is_me && step == 3 {
            signal(Signal::KILL);
        }
        if let Err(error) = parallel.backward(&loss) {
            panic!("{error}");
        }
    }
}

fn collectives(group: &Rc<dyn Collective>) {
    let (rank, world_size) = (group.rank(), group.world_size());
    let bytes = |rank: usize| vec![u8::try_from(rank).unwrap() + 250; 3 * rank];
    let expected: Vec<_> = (0..world_size).map(bytes).collect();
    assert_eq!(group.all_gather_bytes(&bytes(rank)).unwrap(), expected);
    // Beyond what travels padded.
    let many = |rank: usize| vec![u8::try_from(rank).unwrap(); 10_000 * rank];
    let expected: Vec<_> = (0..world_size).map(many).collect();
    assert_eq!(group.all_gather_bytes(&many(rank)).unwrap(), expected);
    assert_eq!(
        group.all_gather_bytes(b"").unwrap(),
        vec![Vec::<u8>::new(); world_size]
    );

    let own = i64::try_from(rank).unwrap();
    let matrix = Tensor::from_slice(&[own, own + 1, own + 2, own + 3]).reshape([2, 2]);
    let floats = Tensor::from_slice(&[own]).to_kind(Kind::Float);
    let count = Tensor::from(own + 5);
    group.broadcast(&[&matrix.tr(), &floats, &count]).unwrap();
    assert_eq!(
        Vec::<i64>::try_from(matrix.reshape([-1])).unwrap(),
        [0, 1, 2, 3]
    );
    assert_eq!(Vec::<f32>::try_from(&floats).unwrap(), [0.0]);
    assert_eq!(count.int64_value(&[]), 5);

    let mean = Tensor::from_slice(&[own, 10]).to_kind(Kind::Double);
    group.all_reduce_mean(&mean).unwrap();
    let ranks: i64 = (0..world_size)
        .map(|rank| i64::try_from(rank).unwrap())
        .sum();
    let world = i64::try_from(world_size).unwrap();
    let expected = Tensor::from_slice(&[ranks, 10 * world]).to_kind(Kind::Double) / world;
    assert_eq!(mean, expected);
    group.barrier().unwrap();
}

fn disagree(group: &Rc<dyn Collective>, width: i64) {
    let weight = Tensor::zeros([width, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let variables = [("mlp.weight".to_owned(), weight)];
    let error = DataParallel::new(Rc::clone(group), &variables).unwrap_err();
    panic!("{error}");
}
