//! Our training step at the production shape, for `compare_steps.py`.
//!
//!     step --batch N [--bf16] [--linear mkl|onednn] [--spin] [--floor]
//!
//! Stays up, and answers every line `N` on standard input with one line of JSON about N steps: `steps`, the milliseconds
//! of each, and `parts`, the medians of forward, backward and optimizer. With `--floor` a step is nothing but its matrix
//! products (every Linear layer's output, weight gradient and input gradient, one after the other, on memory that is
//! there already) and copies of as much memory as the optimizer moves.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench that cannot go on should panic"
)]

mod random_batch;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use random_batch::random_batch;
use recap_train::config;
use recap_train::torch::{linear, memory, threads};
use recap_train::train::checks::Checks;
use recap_train::train::setup::{Place, build_device, build_stepper};
use recap_train::train::step::Stepper;
use tch::{Cuda, Device, Kind, Tensor};

#[derive(Parser)]
struct Args {
    /// Rows of a batch; without it nothing is done
    #[arg(long)]
    batch: Option<i64>,
    /// Matrix products in bfloat16
    #[arg(long)]
    bf16: bool,
    /// Whose f32 products on the CPU: mkl or onednn; nothing: as training would choose
    #[arg(long)]
    linear: Option<String>,
    /// Let waiting threads spin, as libtorch does by itself
    #[arg(long)]
    spin: bool,
    /// Only the matrix products, and the memory of the update
    #[arg(long)]
    floor: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Milliseconds of one step: forward, backward, optimizer.
type Parts = [f64; 3];

fn main() {
    let args = Args::parse();
    // `cargo bench` itself asks nothing of this program: it is driven by the script.
    let Some(rows) = args.batch else {
        return;
    };
    memory::keep_freed();
    if !args.spin {
        threads::wait_asleep().unwrap();
    }
    let overrides = [format!("training.mixed_precision={}", args.bf16)];
    let config = config::load_recap(Path::new("configs/local_prod.yaml"), &overrides).unwrap();
    let device = build_device(Place::ALONE).unwrap();
    if let Some(library) = &args.linear {
        linear::use_onednn(library == "onednn");
    }
    let mut stepper = build_stepper(&config.config, device, Place::ALONE).unwrap();
    stepper.options.checks = Checks::choose(device, false);
    let mut contestant: Box<dyn FnMut(bool) -> Parts> = if args.floor {
        floor(&stepper, rows, args.bf16)
    } else {
        step(stepper, rows)
    };
    for line in std::io::stdin().lock().lines() {
        let steps: usize = line.unwrap().trim().parse().unwrap();
        answer(&mut contestant, steps, device);
    }
}

/// On a GPU the steps are asked for without waiting, as in training; their parts come from one more step that waits.
fn answer(contestant: &mut dyn FnMut(bool) -> Parts, steps: usize, device: Device) {
    let begin = Instant::now();
    let mut parts: Vec<Parts> = (0..steps).map(|_| contestant(false)).collect();
    let mut times: Vec<f64> = parts.iter().map(|parts| parts.iter().sum()).collect();
    if device.is_cuda() {
        synchronize(device);
        times = vec![milliseconds(begin) / steps as f64; steps];
        parts = vec![contestant(true)];
    }
    let part = |i: usize| median(parts.iter().map(|parts| parts[i]).collect());
    println!(
        r#"{{"steps": {times:?}, "parts": [{}, {}, {}]}}"#,
        part(0),
        part(1),
        part(2)
    );
    std::io::stdout().flush().unwrap();
}

fn step(mut stepper: Stepper, rows: i64) -> Box<dyn FnMut(bool) -> Parts> {
    let batch = random_batch(rows, stepper.device());
    let mut step = 0;
    Box::new(move |wait| {
        stepper.options.time_device = wait;
        let times = stepper.run(step, &batch).unwrap().times;
        step += 1;
        [times.forward, times.backward, times.update].map(|part| 1e3 * part.as_secs_f64())
    })
}

/// One Linear layer's products.
struct Products {
    x: Tensor,
    weight: Tensor,
    gradient: Tensor,
    output: Tensor,
    weight_gradient: Tensor,
    input_gradient: Tensor,
}

fn floor(stepper: &Stepper, rows: i64, bf16: bool) -> Box<dyn FnMut(bool) -> Parts> {
    let device = stepper.device();
    let kind = if bf16 { Kind::BFloat16 } else { Kind::Float };
    let random = |size: [i64; 2]| Tensor::randn(size, (Kind::Float, device)).to_kind(kind);
    let layers = stepper.ranker.layers().iter();
    let mut all: Vec<Products> = layers
        .filter(|layer| layer.kind == "Linear")
        .map(|layer| Products {
            x: random([rows, layer.input]),
            weight: random([layer.output, layer.input]),
            gradient: random([rows, layer.output]),
            output: random([rows, layer.output]),
            weight_gradient: random([layer.output, layer.input]),
            input_gradient: random([rows, layer.input]),
        })
        .collect();
    let onednn = linear::uses_onednn() && !bf16 && !device.is_cuda();
    let zeros = Tensor::zeros([4096], (kind, device));
    let parameters: i64 = all
        .iter()
        .map(|p| i64::try_from(p.weight.numel()).unwrap())
        .sum();
    let mut traffic = [(); 4].map(|()| Tensor::zeros([parameters], (Kind::Float, device)));
    // `a bᵀ` into `output`, by the library that the step uses.
    let multiply = move |output: &mut Tensor, a: &Tensor, b: &Tensor| {
        if onednn {
            *output = linear::linear(a, b, &zeros.narrow(0, 0, b.size()[0])).unwrap();
        } else {
            let _ = a.mm_out(output, &b.tr());
        }
    };
    Box::new(move |wait| {
        let _guard = tch::no_grad_guard();
        let finish = || {
            if wait {
                synchronize(device);
            }
        };
        let begin = Instant::now();
        for p in &mut all {
            multiply(&mut p.output, &p.x, &p.weight);
        }
        finish();
        let forward = milliseconds(begin);
        for p in all.iter_mut().rev() {
            multiply(&mut p.weight_gradient, &p.gradient.tr(), &p.x.tr());
            multiply(&mut p.input_gradient, &p.gradient, &p.weight.tr());
        }
        finish();
        let backward = milliseconds(begin) - forward;
        memory_of_the_update(&mut traffic);
        finish();
        [forward, backward, milliseconds(begin) - forward - backward]
    })
}

/// Reads four tensors and writes three, as Adam does with parameter, gradient and its two moments, and computes nothing.
fn memory_of_the_update([parameter, gradient, first, second]: &mut [Tensor; 4]) {
    first.copy_(gradient);
    parameter.copy_(first);
    second.copy_(parameter);
    let _ = second.sum(Kind::Float);
}

fn milliseconds(begin: Instant) -> f64 {
    1e3 * begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index.try_into().unwrap());
    }
}
