//! The scripts of the release and of `make test`, run on copies of the files that they change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with `scripts` and whatever else the test copies into it.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str, paths: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut copy = Command::new("cp");
        copy.args(["-r", "--parents"]).args(paths).arg(&folder).current_dir(meridian_xtask::root());
        assert!(copy.status().unwrap().success());
        Self(folder)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.join(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.0.join(path).parent().unwrap()).unwrap();
        std::fs::write(self.0.join(path), text).unwrap();
    }

    fn run(&self, script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(self.0.join(script));
        command.args(arguments).envs(environment.iter().copied()).env_remove("MAKEFLAGS");
        text(&command.output().unwrap())
    }
}

fn text(output: &Output) -> (bool, String) {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8(all).unwrap())
}

const VERSIONED: &[&str] = &[
    "scripts/set-version",
    "Cargo.toml",
    "Cargo.lock",
    "Dockerfile",
    "README.md",
    "RELEASE.md",
    "docs",
    "examples",
    "charts",
];

#[test]
fn crates_lock_file_chart_and_images_have_one_version() {
    let output = Command::new(meridian_xtask::root().join("scripts/set-version")).arg("--check").output().unwrap();
    assert_eq!(text(&output), (true, format!("{}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn set_version_changes_every_place_and_nothing_else() {
    let copy = Copy::new("set-version", VERSIONED);
    copy.write("examples/image.yaml", "image: ghcr.io/meridiandb/meridian-node:0.0.9 # kept\n");
    let before = copy.read("Cargo.lock");
    let old = env!("CARGO_PKG_VERSION");

    let (ok, said) = copy.run("scripts/set-version", &["7.8.9-rc.1"], &[]);
    assert_eq!((ok, said.as_str()), (true, "7.8.9-rc.1\n"));
    assert_eq!(copy.read("examples/image.yaml"), "image: ghcr.io/meridiandb/meridian-node:7.8.9-rc.1 # kept\n");
    assert!(copy.read("charts/meridian/Chart.yaml").contains("\nversion: 7.8.9-rc.1\nappVersion: 7.8.9-rc.1\n"));
    assert!(copy.read("Dockerfile").contains("meridian-node:7.8.9-rc.1 "));
    assert_eq!(copy.read("Cargo.toml").matches("7.8.9-rc.1").count(), 1);
    let (after, ours) = (copy.read("Cargo.lock"), before.matches("name = \"meridian-").count());
    assert_eq!(after.matches("7.8.9-rc.1").count(), ours);
    assert_eq!(after.replace("7.8.9-rc.1", old), before);
}

#[test]
fn a_place_with_another_version_is_named() {
    let copy = Copy::new("set-version-differs", VERSIONED);
    copy.write("docs/image.md", "docker pull ghcr.io/meridiandb/meridian-operator:0.0.9\n");
    let (ok, said) = copy.run("scripts/set-version", &["--check"], &[]);
    assert!(!ok && said.contains("    0.0.9 docs/image.md\n"), "{said}");
}

#[test]
fn a_version_that_is_not_semantic_is_refused() {
    let copy = Copy::new("set-version-refused", VERSIONED);
    let before = copy.read("Cargo.toml");
    for version in ["", "1.2", "v1.2.3", "01.2.3", "1.2.3 "] {
        let (ok, said) = copy.run("scripts/set-version", &[version], &[]);
        assert!(!ok && said.contains("the version must be like 0.2.0"), "{version}: {said}");
    }
    assert_eq!(copy.read("Cargo.toml"), before);
}

/// A `make` that waits in the suite `started` for the compilation, and fails for `broken`, and for `test-e2e` while Kubernetes is not compiled.
const STUB: &str = "#!/bin/sh
echo \"runs $2\"
[ \"$2\" != check ] || touch checked
[ \"$2\" != test-e2e ] || [ -e compiled ] || exit 1
[ \"$2\" != started ] || until [ -s pid ]; do sleep 0.01; done
[ \"$2\" != broken ]
";

const NEEDS_ROOT: &str = "#!/bin/sh\necho 'make test-e2e: needs root' >&2\nexit 1\n";

/// Runs suites by the stub of `make`; `preflight` and `build` stand for the scripts of the end-to-end suite.
fn suites(name: &str, suites: &[&str], preflight: &str, build: &str) -> (bool, String) {
    let copy = Copy::new(name, &["scripts/suites"]);
    for (file, text) in [("stub", STUB), ("tests/e2e/preflight", preflight), ("tests/bed/build", build)] {
        copy.write(file, text);
        assert!(Command::new("chmod").arg("+x").arg(copy.0.join(file)).status().unwrap().success());
    }
    copy.run("scripts/suites", suites, &[("MAKE", copy.0.join("stub").to_str().unwrap()), ("E2E", "")])
}

#[test]
fn the_time_of_each_suite_is_printed_and_what_did_not_run_is_named() {
    let (ok, said) = suites("suites", &["deny", "check", "test-e2e"], NEEDS_ROOT, "");
    let expected = "\
runs deny
runs check

make test: minutes and seconds of each suite
  deny               0:00
  check              0:00
  test-e2e         NOT RUN: needs root
  total              0:00
make test: all suites that ran passed. NOT RUN: end to end on Kubernetes: needs root
";
    assert_eq!((ok, said.as_str()), (true, expected));
}

#[test]
fn suites_end_at_the_first_that_fails() {
    let (ok, said) = suites("suites-fail", &["deny", "broken", "check"], NEEDS_ROOT, "");
    assert!(!ok && !said.contains("runs check"), "{said}");
    assert!(said.contains("  deny               0:00\n  broken             0:00  FAILED\n"), "{said}");
    assert!(said.ends_with("make test: broken failed\n"), "{said}");
}

/// A compilation that ends after the suite `check`, with an error.
const BUILD: &str = "#!/bin/sh\nuntil [ -e checked ]; do sleep 0.01; done\necho no space\ntouch compiled\nexit 1\n";

#[test]
fn kubernetes_is_compiled_beside_the_first_suites_and_before_those_with_deadlines() {
    let (ok, said) = suites("suites-compile", &["deny", "check", "test-e2e"], "#!/bin/sh\n", BUILD);
    assert!(ok && said.contains("compiling Kubernetes failed: no space"), "{said}");
    let row = |line: &str| line.strip_prefix("  ").and_then(|row| row.split(' ').next()).map(str::to_owned);
    let rows: Vec<String> = said.lines().filter_map(row).collect();
    assert_eq!(rows, ["deny", "check", "kubernetes", "test-e2e", "total"]);
}

#[test]
fn a_suite_that_fails_ends_the_compilation() {
    let endless = "#!/bin/sh\necho $$ >pid\nexec sleep 1000\n";
    let name = "suites-compile-ends";
    let (ok, said) = suites(name, &["started", "broken", "test-e2e"], "#!/bin/sh\n", endless);
    assert!(!ok && said.ends_with("make test: broken failed\n"), "{said}");
    let pid = std::fs::read_to_string(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim()).join("cmdline");
    while std::fs::read(&process).is_ok_and(|line| line.starts_with(b"sleep")) {
        std::thread::yield_now(); // the signal is on its way; without one this waits for 1000 s
    }
}
