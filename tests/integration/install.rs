//! The program where it is installed: it finds libtorch from its own folder, and the wheel starts it with Python's torch.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The torch folder that this build links.
fn torch() -> PathBuf {
    let named = std::env::var("LIBTORCH").map(PathBuf::from);
    let named = named.unwrap_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join(".libtorch"));
    named.canonicalize().unwrap()
}

/// Where the loader of a process with an empty environment finds `libtorch_cpu.so`.
fn found_by(program: &Path) -> String {
    let mut command = Command::new(program);
    command.arg("--version").env_clear();
    let output = command.env("LD_DEBUG", "libs").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let line = log
        .lines()
        .find(|line| line.contains("calling init: ") && line.contains("libtorch_cpu.so"));
    line.unwrap()
        .split("calling init: ")
        .nth(1)
        .unwrap()
        .to_owned()
}

#[test]
fn an_installed_program_takes_the_libtorch_that_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_recap-train"));
    for (place, lib) in [
        ("usr/bin", "usr/lib/recap-train/torch"),
        ("site-packages/recap_train/bin", "site-packages/torch"),
    ] {
        std::fs::create_dir_all(root.join(place)).unwrap();
        std::fs::create_dir_all(root.join(lib)).unwrap();
        symlink(torch().join("lib"), root.join(lib).join("lib")).unwrap();
        let copy = root.join(place).join("recap-train");
        std::fs::copy(program, &copy).unwrap();
        let found = found_by(&copy);
        assert!(found.starts_with(root.to_str().unwrap()), "{found}");
    }
}

/// Runs `code` in a Python that knows the files beside the wheel's; `None` where there is no Python.
fn python(code: &str) -> Option<Output> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/python");
    let mut command = Command::new("python3");
    command.args(["-c", code]).env("PYTHONPATH", sources);
    command.env("PYTHONDONTWRITEBYTECODE", "1").output().ok()
}

#[test]
fn the_wheel_carries_the_program_and_a_tag_that_its_symbols_keep() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_recap-train");
    // A small file stands for the program's bytes: the tag is that of the real one.
    let code = format!(
        "import sys, wheel, zipfile\n\
         tag = wheel.tag({program:?})\n\
         wheel.tag = lambda program: tag\n\
         path = wheel.pack(sys.executable, {:?})\n\
         with zipfile.ZipFile(path) as packed:\n\
         \x20   entry = packed.getinfo('recap_train/bin/recap-train')\n\
         \x20   assert entry.external_attr >> 16 == 0o100755, entry\n\
         \x20   assert packed.testzip() is None\n\
         \x20   names = set(packed.namelist())\n\
         \x20   record = [name for name in names if name.endswith('/RECORD')][0]\n\
         \x20   listed = {{line.split(',')[0] for line in packed.read(record).decode().splitlines()}}\n\
         \x20   assert names == listed, names ^ listed\n\
         print(path)",
        folder.path().to_str().unwrap()
    );
    let Some(output) = python(&code) else {
        eprintln!("not tried: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("-py3-none-manylinux_2_"), "{said}");
}

#[test]
fn the_wheel_says_which_torch_it_needs() {
    let Some(output) = python("import recap_train; recap_train.TORCH = '0.0'; recap_train.main()")
    else {
        eprintln!("not tried: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("recap-train needs torch 0.0, found") && said.contains("pip install"),
        "{said}"
    );
}
