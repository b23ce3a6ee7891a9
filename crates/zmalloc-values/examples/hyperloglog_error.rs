//! The error of `HyperLogLog` over independent trials, up to 10^7 elements, beside the theory's 1.04 / sqrt(16384).
//!
//! `cargo run --release -p zmalloc-values --example hyperloglog_error`: about 15 s. Exit status 1 if an error is above.

use zmalloc_values::HyperLogLog;

fn main() -> std::process::ExitCode {
    let theory = 1.04 / f64::sqrt(16384.0);
    println!(
        "{:>10}  {:>6}  {:>7}  {:>7}  {:>7}   (theory: {:.2} %)",
        "elements",
        "trials",
        "RMS",
        "mean",
        "worst",
        theory * 100.0
    );
    let mut held = true;
    for (count, trials) in [(100, 1000), (1000, 500), (10_000, 300), (100_000, 150), (1_000_000, 60), (10_000_000, 40)]
    {
        let errors: Vec<f64> = (0..trials).map(|trial| error(trial, count)).collect();
        let over = |sum: f64| sum / trials as f64;
        let rms = over(errors.iter().map(|error| error * error).sum()).sqrt();
        let mean = over(errors.iter().sum());
        let worst = errors.iter().fold(0.0, |worst: f64, error| worst.max(error.abs()));
        println!("{count:>10}  {trials:>6}  {:>5.2} %  {:>5.2} %  {:>5.2} %", rms * 100.0, mean * 100.0, worst * 100.0);
        // Three times the standard error of a root mean square over so many trials.
        held &= rms < theory * (1.0 + 3.0 / (2.0 * trials as f64).sqrt());
    }
    if held { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

fn error(trial: u64, count: u64) -> f64 {
    let mut log: HyperLogLog = HyperLogLog::new();
    for number in 0..count {
        log.add(&(trial << 40 | number).to_le_bytes());
    }
    log.count() as f64 / count as f64 - 1.0
}
