//! How much of the averaging of gradients hides behind backward, at the production shape.
//!
//!     ranks --batch ROWS [--ranks N] [--rounds N] [--gigabits RATE]...
//!
//! Prints one row of a Markdown table per rate. The ranks are started by the program's own launcher, in a network
//! namespace whose loopback passes RATE Gbit/s a rank in each direction (0: as fast as it can), so that the wire, which
//! needs no core, is what averaging waits for. In every round and in turn: backward alone (ROWS rows a rank, nothing
//! sent), the same buckets alone (after a backward that has nothing to compute), both together. The slowest rank counts;
//! medians over rounds. What is hidden is `alone + alone - together`, as a share of the averaging alone.
//!
//! Limiting needs Linux, `ip`, `tc` and the right to make namespaces; without them only the rate 0 is measured.

#![allow(clippy::print_stdout, reason = "a bench prints what it finds")]

mod random_batch;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use random_batch::random_batch;
use recap_train::config;
use recap_train::distributed::env::Launch;
use recap_train::distributed::launcher::Launcher;
use recap_train::distributed::store::Stop;
use recap_train::distributed::timeline::Overlap;
use recap_train::distributed::{self, Card, Collective, DataParallel, Terms};
use recap_train::model::Mode;
use recap_train::torch::batch::Batch;
use recap_train::torch::memory;
use recap_train::train::setup::{build_device, build_stepper};
use recap_train::train::step::Stepper;
use tch::Tensor;

#[derive(Parser)]
struct Args {
    /// Rows of a batch, of each rank
    #[arg(long)]
    batch: Option<i64>,
    /// Processes
    #[arg(long, default_value_t = 2)]
    ranks: usize,
    /// Times that everything is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Gbit/s that a rank can send; 0: no limit
    #[arg(long, num_args = 1.., default_values_t = [0.0, 4.0, 2.0, 1.0])]
    gigabits: Vec<f64>,
    /// The network is ready: start the ranks
    #[arg(long, hide = true)]
    inside: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // `cargo bench` itself asks nothing of this program.
    let Some(rows) = args.batch else {
        return Ok(());
    };
    if let Some(launch) = Launch::from_env(|name| std::env::var(name).ok())? {
        return rank(&args, rows, &launch);
    }
    if args.inside {
        let own = std::env::args_os().skip(1).collect();
        let code = Launcher::new(std::env::current_exe()?, own, args.ranks).run()?;
        return if code == 0 {
            Ok(())
        } else {
            Err(format!("a rank ended with {code}").into())
        };
    }
    println!(
        "\n{} ranks, {rows} rows each, f32, median of {} rounds\n",
        args.ranks, args.rounds
    );
    println!(
        "| Gbit/s a rank | buckets | backward alone ms | averaging alone ms | sum ms | together ms (min – max) \
         | averaging hidden | first bucket leaves / last gradient / last bucket done ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for &gigabits in &args.gigabits {
        if !play(&args, rows, gigabits)?.success() {
            println!("| {gigabits} | not measured: no such network here | | | | | | |");
        }
    }
    Ok(())
}

/// Starts this program again, in a network that passes `gigabits` a rank, and waits for it.
fn play(args: &Args, rows: i64, gigabits: f64) -> std::io::Result<std::process::ExitStatus> {
    let program = std::env::current_exe()?;
    let mut command = if gigabits > 0.0 {
        let bytes_per_s = gigabits * 1e9 / 8.0 * args.ranks as f64;
        let limit = format!(
            "ip link set lo up && tc qdisc add dev lo root tbf rate {:.0}bps burst {:.0} limit 256mb && exec \"$@\"",
            bytes_per_s,
            (bytes_per_s / 200.0).max(262_144.0)
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &limit, "sh"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    // A namespace without names makes c10d complain of addresses that it cannot look up.
    command.env("TORCH_CPP_LOG_LEVEL", "ERROR");
    command.arg("--inside");
    command.arg(format!("--batch={rows}"));
    command.arg(format!("--ranks={}", args.ranks));
    command.arg(format!("--rounds={}", args.rounds));
    command.arg(format!("--gigabits={gigabits}"));
    command.status()
}

/// What one rank measures with.
struct Bench {
    group: Rc<dyn Collective>,
    stepper: Stepper,
    parallel: DataParallel,
    batch: Batch,
}

/// One round, in seconds; of the slowest rank.
struct Round {
    backward: f64,
    averaging: f64,
    together: f64,
    overlap: Overlap,
}

fn rank(args: &Args, rows: i64, launch: &Launch) -> Result<(), Box<dyn Error>> {
    memory::keep_freed();
    let config = config::load_recap(Path::new("configs/local_prod.yaml"), &[])?.config;
    let device = build_device(launch.place)?;
    let terms = Terms {
        device,
        timeout: Duration::from_secs(120),
        card: &Card::default(),
        stop: Stop::never(),
    };
    let group = distributed::connect(Some(launch), &terms)?;
    let stepper = build_stepper(&config, device, launch.place)?;
    let state = stepper.ranker.state().iter();
    let variables: Vec<_> = state
        .map(|(name, entry)| (name.to_owned(), entry.tensor.shallow_clone()))
        .collect();
    let parallel = DataParallel::new(Rc::clone(&group), &variables)?;
    let batch = random_batch(rows, device);
    let mut bench = Bench {
        group,
        stepper,
        parallel,
        batch,
    };
    // The first round warms up.
    bench.round()?;
    let rounds: Result<Vec<Round>, _> = (0..args.rounds).map(|_| bench.round()).collect();
    if bench.group.rank() == 0 {
        print(args.gigabits.first().copied().unwrap_or(0.0), &rounds?)?;
    }
    Ok(bench.group.leave()?)
}

impl Bench {
    fn round(&mut self) -> Result<Round, Box<dyn Error>> {
        let loss = self.loss()?;
        let backward = self.time(|bench| {
            let parallel = &bench.parallel;
            Ok(parallel.no_sync(|| parallel.backward(&loss))?)
        })?;
        let (_, averaging) = self.averaged(&self.nothing()?)?;
        let loss = self.loss()?;
        let (together, overlap) = self.averaged(&loss)?;
        let averaging = averaging.last_reduced - averaging.first_launched;
        Ok(Round {
            backward,
            averaging: self.slowest(averaging.as_secs_f64())?,
            together,
            overlap,
        })
    }

    /// Seconds of a backward that averages, and what happened in it.
    fn averaged(&mut self, loss: &Tensor) -> Result<(f64, Overlap), Box<dyn Error>> {
        self.parallel.prepare_for_backward()?;
        let seconds = self.time(|bench| {
            bench.parallel.start_timeline();
            Ok(bench.parallel.backward(loss)?)
        })?;
        let overlap = Overlap::of(&self.parallel.stop_timeline()).ok_or("nothing was averaged")?;
        Ok((seconds, overlap))
    }

    /// Seconds until the slowest rank is done, having begun together; the gradients are cleared.
    fn time(
        &mut self,
        work: impl FnOnce(&Self) -> Result<(), Box<dyn Error>>,
    ) -> Result<f64, Box<dyn Error>> {
        self.group.barrier()?;
        let begin = Instant::now();
        work(self)?;
        let seconds = begin.elapsed().as_secs_f64();
        self.stepper.optimizer.zero_grad();
        self.slowest(seconds)
    }

    fn slowest(&self, seconds: f64) -> Result<f64, Box<dyn Error>> {
        let all = self.group.all_gather_bytes(&seconds.to_le_bytes())?;
        let all = all
            .iter()
            .map(|bytes| bytes.as_slice().try_into().map(f64::from_le_bytes));
        let all: Vec<f64> = all.collect::<Result<_, _>>()?;
        Ok(all.into_iter().fold(0.0, f64::max))
    }

    fn loss(&self) -> Result<Tensor, Box<dyn Error>> {
        let outputs = self.stepper.ranker.forward(&self.batch, Mode::Train)?;
        let labels = self.batch.labels.as_ref().ok_or("no labels")?;
        let losses = self.stepper.loss.forward(&outputs.logits, labels, None)?;
        Ok(losses.total)
    }

    /// A loss whose gradient is zero and costs nothing but to be written.
    fn nothing(&self) -> Result<Tensor, Box<dyn Error>> {
        let parameters = self.stepper.ranker.state().parameters();
        let sums: Result<Vec<_>, _> = parameters.map(|(_, tensor)| tensor.f_sum(None)).collect();
        Ok((Tensor::f_stack(&sums?, 0)?.f_sum(None)?).f_mul_scalar(0.0)?)
    }
}

fn print(gigabits: f64, rounds: &[Round]) -> Result<(), Box<dyn Error>> {
    let ms = |value: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(|round| 1e3 * value(round)).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |value: &dyn Fn(&Round) -> f64| {
        let values = ms(value);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let sum = |round: &Round| round.backward + round.averaging;
    let hidden = |round: &Round| (sum(round) - round.together) / round.averaging;
    let together = ms(&|round| round.together);
    let when = |time: fn(&Overlap) -> Duration| median(&|round| time(&round.overlap).as_secs_f64());
    let overlap = rounds.first().ok_or("no rounds")?.overlap;
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "| {} | {}, {:.1} MB | {:.0} | {:.0} | {:.0} | {:.0} ({:.0} – {:.0}) | {:.0}% | {:.0} / {:.0} / {:.0} |",
        if gigabits > 0.0 {
            gigabits.to_string()
        } else {
            "no limit".to_owned()
        },
        overlap.num_buckets,
        overlap.bytes as f64 / 1e6,
        median(&|round| round.backward),
        median(&|round| round.averaging),
        median(&sum),
        median(&|round| round.together),
        together.first().copied().unwrap_or(f64::NAN),
        together.last().copied().unwrap_or(f64::NAN),
        median(&hidden) / 10.0,
        when(|overlap| overlap.first_launched),
        when(|overlap| overlap.last_gradient),
        when(|overlap| overlap.last_reduced),
    )?;
    Ok(stdout.flush()?)
}
