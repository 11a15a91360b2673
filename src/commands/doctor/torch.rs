//! libtorch, GPUs, threads.

use std::path::{Path, PathBuf};

use tch::{Cuda, Device, Kind, Tensor};

use super::finding::Finding;
use crate::machine::cores;
use crate::torch::{device, process_group};

/// The version of libtorch that the program was built with.
const BUILT_WITH: &str = env!("RECAP_LIBTORCH");

/// Everything that computes; `ranks_here` processes share it.
pub(super) fn look(ranks_here: usize) -> Vec<Finding> {
    let loaded = device::load_cuda();
    let num_gpus = usize::try_from(Cuda::device_count()).unwrap_or(0);
    let gpus = match loaded {
        Err(error) => Finding::fail(
            "cuda",
            error.to_string(),
            "reinstall libtorch, or unset LIBTORCH",
        ),
        Ok(reason) => cuda(reason, num_gpus, Path::new("/dev/nvidia0").exists()),
    };
    let nccl = nccl(process_group::cuda_shim().as_deref(), num_gpus);
    vec![libtorch(), gpus, nccl, cpu(), threads(ranks_here)]
}

fn libtorch() -> Finding {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(folder) = folder_of(&maps, "libtorch_cpu.so") else {
        return Finding::ok(
            "libtorch",
            format!("{BUILT_WITH}, found by the system's loader"),
        );
    };
    let version = folder.parent().map(|torch| torch.join("version.py"));
    let version = version.and_then(|path| std::fs::read_to_string(path).ok());
    let facts = format!("{BUILT_WITH} in {}", folder.display());
    match version.as_deref().and_then(version_in) {
        Some(found) if found != BUILT_WITH => Finding::fail(
            "libtorch",
            format!(
                "built with {BUILT_WITH}, but {found} is in {}",
                folder.display()
            ),
            "build again against this libtorch, or put the old one back",
        ),
        _ => Finding::ok("libtorch", facts),
    }
}

/// The folder of the mapped file called `name`.
fn folder_of(maps: &str, name: &str) -> Option<PathBuf> {
    let path = maps.lines().find_map(|line| {
        let path = Path::new(line.get(line.find('/')?..)?);
        path.ends_with(name).then_some(path)
    });
    path?.parent().map(Path::to_owned)
}

fn version_in(python: &str) -> Option<&str> {
    let line = python
        .lines()
        .find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1)
}

fn cuda(why_not: Option<String>, num_gpus: usize, has_driver: bool) -> Finding {
    if let Some(bad) = (0..num_gpus).find_map(gpu_fault) {
        return Finding::fail(
            "cuda",
            bad,
            "see nvidia-smi: the GPU may be full, in exclusive use, or broken",
        );
    }
    match (num_gpus, why_not) {
        (0, None) if has_driver => Finding::warn(
            "cuda",
            "libtorch has CUDA and the machine a GPU, but none can be used".to_owned(),
            "compare the driver (nvidia-smi) with libtorch's CUDA, and look at CUDA_VISIBLE_DEVICES",
        ),
        (0, Some(_)) if has_driver => Finding::warn(
            "cuda",
            "the machine has a GPU, but this libtorch has no CUDA: it would train on the CPU"
                .to_owned(),
            "export LIBTORCH=.../site-packages/torch of `pip install torch` and build again",
        ),
        (0, _) => Finding::ok("cuda", "no GPU: trains on the CPU".to_owned()),
        (1, _) => Finding::ok("cuda", "one GPU, it computes".to_owned()),
        (num, _) => Finding::ok("cuda", format!("{num} GPUs, each computes")),
    }
}

/// Why GPU `index` cannot compute.
fn gpu_fault(index: usize) -> Option<String> {
    let try_it = || Tensor::f_ones([1], (Kind::Float, Device::Cuda(index)))?.f_sum(Kind::Float);
    let error = try_it().err()?.to_string();
    let first = error.lines().next().unwrap_or("no message");
    Some(format!("GPU {index} does not compute: {first}"))
}

fn nccl(part: Option<&Path>, num_gpus: usize) -> Finding {
    match part {
        Some(path) => Finding::ok("nccl", format!("built in: {}", path.display())),
        None if num_gpus > 1 => Finding::warn(
            "nccl",
            format!("not built in: {num_gpus} GPUs cannot train together"),
            "build with the headers of CUDA and NCCL: a full `pip install torch` has both",
        ),
        None => Finding::ok("nccl", "not built in, and not needed here".to_owned()),
    }
}

fn cpu() -> Finding {
    #[cfg(target_arch = "x86_64")]
    let (has_vectors, name) = (is_x86_feature_detected!("avx2"), "AVX2");
    #[cfg(not(target_arch = "x86_64"))]
    let (has_vectors, name) = (true, std::env::consts::ARCH);
    if has_vectors {
        Finding::ok("cpu", format!("{} cores, {name}", cores()))
    } else {
        Finding::warn(
            "cpu",
            format!(
                "{} cores without {name}: libtorch computes several times slower",
                cores()
            ),
            "use a machine with AVX2, or let the virtual machine pass it through",
        )
    }
}

fn threads(ranks_here: usize) -> Finding {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1);
    let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| "not set".to_owned());
    let omp = setting("OMP_NUM_THREADS");
    judge_threads(
        threads,
        ranks_here,
        cores(),
        &omp,
        &setting("OMP_WAIT_POLICY"),
    )
}

fn judge_threads(threads: usize, ranks: usize, cores: usize, omp: &str, policy: &str) -> Finding {
    let each = match ranks {
        1 => String::new(),
        ranks => format!(" for each of {ranks} ranks"),
    };
    let facts = format!("{threads}{each} (OMP_NUM_THREADS {omp}, OMP_WAIT_POLICY {policy})");
    if threads * ranks > cores {
        let remedy = format!(
            "set OMP_NUM_THREADS={}: there are {cores} cores",
            (cores / ranks).max(1)
        );
        return Finding::warn("threads", facts, &remedy);
    }
    if threads == 1 && cores > 1 && ranks == 1 {
        let remedy = format!("set OMP_NUM_THREADS={cores}, or unset it: there are {cores} cores");
        return Finding::warn("threads", facts, &remedy);
    }
    Finding::ok("threads", facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn the_loaded_libtorch_is_found() {
        let maps = "7f00-7f01 r-xp 0000 08:01 12   /opt/my torch/lib/libtorch_cpu.so\n7f02-7f03 rw-p 0 00:00 0\n";
        assert_eq!(
            folder_of(maps, "libtorch_cpu.so"),
            Some("/opt/my torch/lib".into())
        );
        assert_eq!(folder_of(maps, "libc10.so"), None);
        assert_eq!(
            version_in("a = 1\n__version__ = '2.11.0+cpu'\n"),
            Some("2.11.0+cpu")
        );
    }

    #[test]
    fn gpus_that_are_there_and_not_used_are_a_warning() {
        let level = |why: Option<&str>, driver| cuda(why.map(str::to_owned), 0, driver).level;
        assert_eq!(level(None, true), Level::Warn);
        assert_eq!(level(Some("no libtorch_cuda.so"), true), Level::Warn);
        assert_eq!(level(Some("no libtorch_cuda.so"), false), Level::Ok);
        assert_eq!(nccl(None, 2).level, Level::Warn);
        assert_eq!(nccl(None, 1).level, Level::Ok);
    }

    #[test]
    fn too_many_and_too_few_threads_are_warnings() {
        let level = |threads, ranks, cores| judge_threads(threads, ranks, cores, "x", "y").level;
        assert_eq!(level(8, 1, 8), Level::Ok);
        assert_eq!(level(8, 2, 8), Level::Warn);
        assert_eq!(level(1, 1, 8), Level::Warn);
        assert_eq!(level(1, 1, 1), Level::Ok);
        assert_eq!(level(4, 2, 8), Level::Ok);
    }
}
