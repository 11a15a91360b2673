//! Compiles `torch/shim` against libtorch and tells the linker where libtorch lives.

use std::path::{Path, PathBuf};

/// One object each, so that an edit recompiles little.
const SHIM: [&str; 2] = ["context.cc", "fused.cc"];

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-changed=src/torch/sys.rs");
    println!("cargo:rerun-if-changed=src/torch/shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = libtorch();
    link(&libtorch);
    compile_shim(&libtorch);
    println!("cargo:rustc-env=RECAP_LIBTORCH={}", version(&libtorch));
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

/// The binary finds libtorch by itself, with nothing exported: its own run path names it.
fn link(libtorch: &Path) {
    // DT_RPATH, unlike DT_RUNPATH, serves the libraries that libtorch loads in turn as well.
    // A CPU-only libtorch has open symbols that only its CUDA part would fill.
    for arg in [
        &format!("-Wl,-rpath,{}", libtorch.join("lib").display()),
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
    let mut build = cxx_build::bridge("src/torch/sys.rs");
    build
        .std("c++20")
        .opt_level(2)
        .warnings(false)
        .include("src/torch/shim")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1");
    for file in SHIM {
        build.file(Path::new("src/torch/shim").join(file));
    }
    build.compile("recap_shim");
}

/// `2.11.0+cpu` and the like, from `version.py`.
fn version(libtorch: &Path) -> String {
    let text = std::fs::read_to_string(libtorch.join("version.py")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("__version__"));
    let quoted = line.and_then(|line| line.split(['\'', '"']).nth(1));
    quoted.unwrap_or("unknown").to_owned()
}
