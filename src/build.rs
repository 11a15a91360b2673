//! Compiles `torch/shim` against libtorch and tells the linker where libtorch lives.
//!
//! Where CUDA's headers are, `torch/shim/cuda.cc` becomes a shared object of its own, loaded at run time.

use std::path::{Path, PathBuf};

/// One object each, so that an edit recompiles little.
const SHIM: [&str; 6] = [
    "context.cc",
    "fused.cc",
    "linear.cc",
    "process_group.cc",
    "profile.cc",
    "transfer.cc",
];

/// The Rust halves of the bridges.
const BRIDGES: [&str; 3] = [
    "src/torch/sys.rs",
    "src/torch/sys_process_group.rs",
    "src/torch/sys_profile.rs",
];

/// Where an installed binary finds libtorch, seen from its own folder: where `make install` lays it, and in a Python's
/// site-packages, beside whose `torch` the wheel is put.
const INSTALLED: [&str; 2] = [
    "$ORIGIN/../lib/recap-train/torch/lib",
    "$ORIGIN/../../torch/lib",
];

/// What the headers of c10d want to know.
const C10D: [&str; 3] = ["USE_DISTRIBUTED", "USE_RPC", "USE_C10D_GLOO"];

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    for bridge in BRIDGES {
        println!("cargo:rerun-if-changed={bridge}");
    }
    println!("cargo:rerun-if-changed=src/torch/shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=RECAP_INSTALLED");
    let libtorch = libtorch();
    link(&libtorch);
    compile_shim(&libtorch);
    compile_cuda(&libtorch);
    let facts = std::fs::read_to_string(libtorch.join("version.py")).unwrap_or_default();
    let version = fact(&facts, "__version__").unwrap_or("unknown");
    println!("cargo:rustc-env=RECAP_LIBTORCH={version}");
    let has_cuda = libtorch.join("lib/libtorch_cuda.so").exists();
    let cuda = fact(&facts, "cuda").filter(|_| has_cuda);
    println!("cargo:rustc-env=RECAP_CUDA={}", cuda.unwrap_or_default());
    println!("cargo:rustc-env=RECAP_RUSTC={}", rustc());
}

/// The torch folder (`include`, `lib`) that torch-sys links.
fn libtorch() -> PathBuf {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let lib = Path::new(&lib)
        .canonicalize()
        .expect("torch-sys has linked an existing folder");
    lib.parent()
        .expect("lib is inside the torch folder")
        .to_owned()
}

/// The binary finds libtorch by itself, with nothing exported: its own run path names it. One that is to be installed
/// (`RECAP_INSTALLED`) does not name the folder of whoever built it.
fn link(libtorch: &Path) {
    let built = libtorch.join("lib").display().to_string();
    let is_installed = std::env::var_os("RECAP_INSTALLED").is_some();
    let built = (!is_installed).then_some(built.as_str());
    let run_path: Vec<&str> = INSTALLED.into_iter().chain(built).collect();
    // DT_RPATH, unlike DT_RUNPATH, serves the libraries that libtorch loads in turn as well.
    // A CPU-only libtorch has open symbols that only its CUDA part would fill.
    for arg in [
        &format!("-Wl,-rpath,{}", run_path.join(":")),
        "-Wl,--disable-new-dtags",
        "-Wl,--allow-shlib-undefined",
    ] {
        println!("cargo:rustc-link-arg={arg}");
    }
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
}

fn compile_shim(libtorch: &Path) {
    let include = libtorch.join("include");
    let mut build = cxx_build::bridges(BRIDGES);
    build
        .std("c++20")
        .opt_level(2)
        .warnings(false)
        .include("src/torch/shim")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1");
    // Pip's libtorch comes without gloo's headers.
    if !include.join("gloo").exists() {
        build.include("src/torch/shim/gloo_stub");
    }
    for name in C10D {
        build.define(name, None);
    }
    for file in SHIM {
        build.file(Path::new("src/torch/shim").join(file));
    }
    build.compile("recap_shim");
}

/// Compiles the CUDA part where its headers are; says where it is, or nothing, in `RECAP_CUDA_SHIM`.
fn compile_cuda(libtorch: &Path) {
    let folder = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = folder.join("librecap_cuda.so");
    let built = match cuda_headers(libtorch) {
        Some(headers) => {
            let built = compile_shared(libtorch, &headers, &object);
            if !built {
                println!("cargo:warning=cuda.cc does not compile here: no NCCL in this build");
            }
            built
        }
        None => false,
    };
    let path = if built { object } else { PathBuf::new() };
    println!("cargo:rustc-env=RECAP_CUDA_SHIM={}", path.display());
}

/// Folders with the headers of CUDA and NCCL; all beside a pip-installed torch, or in the CUDA toolkit.
fn cuda_headers(libtorch: &Path) -> Option<Vec<PathBuf>> {
    if !libtorch.join("lib/libtorch_cuda.so").exists() {
        return None;
    }
    let site = libtorch.parent()?;
    let folders = [
        "nvidia/cu13/include",
        "nvidia/nccl/include",
        "nvidia/cu13/include/cccl",
        "triton/backends/nvidia/include",
    ];
    let mut headers: Vec<_> = folders.iter().map(|folder| site.join(folder)).collect();
    headers.push(PathBuf::from("/usr/local/cuda/include"));
    let has = |name: &str| headers.iter().any(|folder| folder.join(name).exists());
    (has("cuda_runtime_api.h") && has("nccl.h")).then_some(headers)
}

fn compile_shared(libtorch: &Path, headers: &[PathBuf], object: &Path) -> bool {
    let include = libtorch.join("include");
    let lib = libtorch.join("lib");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .opt_level(2)
        .pic(true)
        .warnings(false)
        .include("src/torch/shim")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_NCCL", None)
        .define("_GLIBCXX_USE_CXX11_ABI", "1");
    let mut command = build.get_compiler().to_command();
    for folder in headers {
        command.arg("-idirafter").arg(folder);
    }
    command.args(["-shared", "src/torch/shim/cuda.cc", "-o"]);
    command.arg(object).arg("-L").arg(&lib);
    command.arg(format!("-Wl,-rpath,{}", lib.display()));
    command.args(["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]);
    command.args(["-ltorch_cuda", "-lc10_cuda", "-ltorch_cpu", "-lc10"]);
    command.status().is_ok_and(|status| status.success())
}

/// The quoted value of `name` in `version.py`: `2.11.0+cpu` and the like.
fn fact<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([':', ' ', '=']))
    };
    let line = text.lines().find(is_it)?;
    line.split(['\'', '"']).nth(1)
}

/// `rustc 1.95.0 (...)`.
fn rustc() -> String {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(program)
        .arg("--version")
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "rustc unknown".to_owned())
}
