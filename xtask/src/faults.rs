//! `cargo xtask faults`: real clusters under load to which everything happens, many times. See
//! `docs/src/testing/faults.md`.

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "\
Usage: cargo xtask faults [OPTIONS]

  --runs N       so many runs, each with a seed of its own [default: 20]
  --hours H      as many as fit in so much time instead
  --seed S       the seed of the first run; each of the next has one more [default: 1]
  --seconds S    how long faults go on in each run [default: 10]";

const VARIABLES: [(&str, &str); 4] = [
    ("--runs", "UHAHA_FAULTS_RUNS"),
    ("--hours", "UHAHA_FAULTS_HOURS"),
    ("--seed", "UHAHA_FAULTS_SEED"),
    ("--seconds", "UHAHA_FAULTS_SECONDS"),
];
const DEFAULTS: [(&str, &str); 2] = [("UHAHA_FAULTS_RUNS", "20"), ("UHAHA_FAULTS_SECONDS", "10")];

pub(crate) fn run(options: &[&str]) -> Result<()> {
    if matches!(options, ["--help" | "-h" | "help"]) {
        println!("{USAGE}");
        return Ok(());
    }
    let mut tests = crate::cargo::command();
    tests.args(["test", "--locked", "--package", "uhaha-tests", "--test", "faults", "--", "--nocapture"]);
    tests.envs(DEFAULTS);
    for option in options.chunks(2) {
        let [name, value] = option else { bail!("{} needs a number\n\n{USAGE}", option[0]) };
        let variable = VARIABLES.iter().find(|(known, _)| known == name);
        let (_, variable) = variable.with_context(|| format!("no such option: {name}\n\n{USAGE}"))?;
        value.parse::<u64>().with_context(|| format!("{name} {value} is no number"))?;
        tests.env(variable, value);
    }
    // Development builds have the disk whose syncs can be made to fail; the tests build the server themselves.
    ensure!(tests.status()?.success(), "faults were not survived");
    Ok(())
}
