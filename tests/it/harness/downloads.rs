//! What the tests fetch, cached under `target/it`: Kafka, a registry and PostgreSQL through Maven,
//! clients and localstripe through npm and pip, a schema out of an npm package, Mailpit and stripe-mock
//! as Go modules. Versions are pinned here, in `clients/` and in `localstripe/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::run_dir::cache;

const KAFKA: &str = "4.1.2";
const APICURIO: &str = "2.6.13.Final";
const POSTGRES: &str = "18.1.0";
/// Ships the JSON schema of the compose specification.
const DCLINT: &str = "3.1.0";
const MAILPIT: &str = "v1.27.11";
const STRIPE_MOCK: &str = "v0.203.0";
const MAVEN_DEPENDENCY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

const KAFKA_POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>comanda</groupId>
  <artifactId>it-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>KAFKA</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>KAFKA</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;

/// A folder with Apache Kafka and everything it needs, as jars.
pub fn kafka() -> Result<PathBuf> {
    once(&format!("kafka-{KAFKA}"), |folder| {
        let pom = folder.join("pom.xml");
        fs::write(&pom, KAFKA_POM.replace("KAFKA", KAFKA))?;
        let mut maven = maven("copy-dependencies");
        maven.arg("-f").arg(pom).arg("-DincludeScope=runtime");
        run(maven.arg(format!("-DoutputDirectory={}", folder.display())))
    })
}

/// The jar that runs the Apicurio registry, with its `lib` beside it.
pub fn apicurio() -> Result<PathBuf> {
    let folder = once(&format!("apicurio-{APICURIO}"), |folder| {
        let archive = format!("io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all");
        let mut maven = maven("copy");
        maven.arg(format!("-Dartifact={archive}"));
        run(maven.arg(format!("-DoutputDirectory={}", folder.display())))?;
        let archive = folder.join(format!("apicurio-registry-app-{APICURIO}-all.tar.gz"));
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder))?;
        Ok(fs::remove_file(archive)?)
    })?;
    Ok(folder.join(format!("apicurio-registry-app-{APICURIO}-runner.jar")))
}

/// The Mailpit binary, built from its sources; its pages need Node to be built and are left out.
pub fn mailpit() -> Result<PathBuf> {
    go_binary("mailpit", "github.com/axllent/mailpit", MAILPIT)
}

/// Stripe's own double of its API, which has the OpenAPI description built in.
pub fn stripe_mock() -> Result<PathBuf> {
    go_binary("stripe-mock", "github.com/stripe/stripe-mock", STRIPE_MOCK)
}

fn go_binary(name: &str, module: &str, version: &str) -> Result<PathBuf> {
    let folder = once(&format!("{name}-{version}"), |folder| {
        let mut go = Command::new("go");
        go.args(["install", &format!("{module}@{version}")]);
        run(go.env("GOBIN", folder).env("CGO_ENABLED", "0").current_dir(folder))
    })?;
    Ok(folder.join(name))
}

/// A folder with PostgreSQL's server: `bin`, `lib`, `share`.
pub fn postgres() -> Result<PathBuf> {
    once(&format!("postgres-{POSTGRES}"), |folder| {
        let machine = match std::env::consts::ARCH {
            "aarch64" => "arm64v8",
            _ => "amd64",
        };
        let binaries = format!("embedded-postgres-binaries-linux-{machine}");
        let mut maven = maven("unpack");
        // Where it leaves a note that the artifact was unpacked.
        maven.current_dir(folder);
        maven.arg(format!("-Dartifact=io.zonky.test.postgres:{binaries}:{POSTGRES}"));
        run(maven.arg(format!("-DoutputDirectory={}", folder.display())))?;
        let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        let archive = files.find(|path| path.extension().is_some_and(|e| e == "txz"));
        let archive = archive.context("no archive in the artifact")?;
        run(Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(folder))?;
        Ok(fs::remove_file(archive)?)
    })
}

/// A folder whose scripts can import what `clients/package.json` names.
pub fn node_clients() -> Result<PathBuf> {
    let lock = include_str!("../clients/package-lock.json");
    once(&format!("node-{:08x}", fingerprint(lock)), |folder| {
        fs::write(folder.join("package.json"), include_str!("../clients/package.json"))?;
        fs::write(folder.join("package-lock.json"), lock)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        run(&mut npm)
    })
}

/// A folder for `PYTHONPATH` with what `clients/requirements.txt` names.
pub fn python_clients() -> Result<PathBuf> {
    let requirements = include_str!("../clients/requirements.txt");
    once(&format!("python-{:08x}", fingerprint(requirements)), |folder| {
        // The list is whole, and without what one of them asks for in vain: a backport of asyncio
        // to Python 3.3, which would be taken for the real one.
        run(&mut pip(folder, requirements)?)
    })
}

/// A folder for `PYTHONPATH` with localstripe and what it needs. It comes as source alone: what
/// builds it is pinned as well, and goes into the same folder first.
pub fn localstripe() -> Result<PathBuf> {
    let requirements = include_str!("../localstripe/requirements.txt");
    let source = include_str!("../localstripe/source.txt");
    let name = format!("localstripe-{:08x}", fingerprint(&format!("{requirements}{source}")));
    once(&name, |folder| {
        run(&mut pip(folder, requirements)?)?;
        run(pip(folder, source)?.arg("--no-build-isolation").env("PYTHONPATH", folder))
    })
}

/// pip, which installs a whole list of packages to `folder`.
fn pip(folder: &Path, requirements: &str) -> Result<Command> {
    let list = folder.join("requirements.txt");
    fs::write(&list, requirements)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-warn-script-location", "--no-deps"]);
    pip.arg("--target").arg(folder).arg("-r").arg(list);
    Ok(pip)
}

/// The JSON schema of the compose specification, as text.
pub fn compose_schema() -> Result<String> {
    let folder = once(&format!("dclint-{DCLINT}"), |folder| {
        let mut npm = Command::new("npm");
        run(npm.args(["pack", "--silent", &format!("dclint@{DCLINT}")]).current_dir(folder))?;
        let archive = folder.join(format!("dclint-{DCLINT}.tgz"));
        run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder))
    })?;
    let path = folder.join("package/schemas/compose.schema.json");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The folder `target/it/<name>`, filled by `fill` unless an earlier call has succeeded.
/// Processes wait for each other; a half-filled folder is emptied and filled again.
fn once(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    fs::create_dir_all(cache())?;
    let folder = cache().join(name);
    let lock = File::create(cache().join(format!("{name}.lock")))?;
    lock.lock()?;
    let done = folder.join(".complete");
    if !done.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        fill(&folder).with_context(|| format!("fetching {name} for the tests"))?;
        File::create(done)?;
    }
    Ok(folder)
}

fn maven(goal: &str) -> Command {
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", &format!("{MAVEN_DEPENDENCY}:{goal}")]);
    maven
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// FNV-1a: a new list of packages makes a new folder.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
