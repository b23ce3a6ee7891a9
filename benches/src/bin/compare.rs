//! Runs the other binaries in turn, in a new random order each round, and prints each one's median ratio to its base.
//!
//! `compare [--rounds N] [--scale S] [--threads 1,2,8] [--workloads pair-64,set-100k] [--callgrind] BASE ONE...`

use std::path::Path;
use std::process::Command;

fn main() {
    let mut rounds = 11;
    let mut scale = String::from("1");
    let mut threads = vec![1, 2, 8];
    let mut workloads = vec![String::from("pair-64"), String::from("set-100k")];
    let mut callgrind = false;
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--scale" => scale = value(),
            "--threads" => threads = value().split(',').map(|count| count.parse().expect("a number")).collect(),
            "--workloads" => workloads = value().split(',').map(str::to_owned).collect(),
            "--callgrind" => callgrind = true,
            name => names.push(name.to_owned()),
        }
    }
    assert!(names.len() >= 2, "usage: compare [OPTIONS] BASE ONE [ONE ...]");
    let folder = std::env::current_exe().expect("the path of this program").with_file_name("");
    let mut seed = std::process::id() as u64 | 1;

    print!("| over {} |", names[0]);
    let columns: Vec<(&String, usize)> =
        workloads.iter().flat_map(|workload| threads.iter().map(move |&count| (workload, count))).collect();
    for (workload, count) in &columns {
        print!(" {workload}, {count} thr |");
    }
    println!(
        "{}\n|---|{}",
        if callgrind { " instructions per 64 B pair |" } else { "" },
        "---|".repeat(columns.len() + usize::from(callgrind))
    );

    let mut rows: Vec<String> = names.iter().map(|name| format!("| {name} |")).collect();
    for (workload, count) in &columns {
        let mut times = vec![Vec::new(); names.len()];
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..names.len()).collect();
            for i in (1..order.len()).rev() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(i, (seed >> 33) as usize % (i + 1));
            }
            for &which in &order {
                times[which].push(run(&folder, &names[which], workload, *count, &scale));
            }
            eprint!("\r{workload}, {count} threads: round {} of {rounds} ", round + 1);
        }
        eprintln!();
        for (which, row) in rows.iter_mut().enumerate() {
            if which == 0 {
                row.push_str(&format!(" {:.1} ns |", median(times[0].clone())));
                continue;
            }
            let ratios: Vec<f64> = times[which].iter().zip(&times[0]).map(|(own, base)| own / base).collect();
            let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
            // The median of the rounds' ratios, and the ratio of the undisturbed rounds: the fastest of each.
            row.push_str(&format!(" {:.2} ({:.2}) |", median(ratios), best(&times[which]) / best(&times[0])));
        }
    }
    if callgrind {
        for (name, row) in names.iter().zip(&mut rows) {
            row.push_str(&format!(" {:.0} |", instructions(&folder, name)));
        }
    }
    rows.iter().for_each(|row| println!("{row}"));
}

fn run(folder: &Path, name: &str, workload: &str, threads: usize, scale: &str) -> f64 {
    let output = Command::new(folder.join(name))
        .args([workload, &threads.to_string(), scale])
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name} {workload}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("nanoseconds")
}

/// Instructions per 64 B pair: the difference of two runs, so that start and end fall out.
fn instructions(folder: &Path, name: &str) -> f64 {
    let count = |scale: &str| -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(folder.join(name))
            .args(["pair-64", "1", scale])
            .output()
            .expect("valgrind, for --callgrind");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find_map(|line| line.split("Collected :").nth(1)).unwrap_or("nan");
        line.trim().parse().unwrap_or(f64::NAN)
    };
    // 6,000,000 pairs at scale 1, and a tenth of them as warm-up.
    let instructions = (count("0.02") - count("0.01")) / (6_000_000.0 * 0.01 * 1.1);
    // What valgrind cannot run counts nothing.
    if instructions > 0.0 { instructions } else { f64::NAN }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
