//! What is asked for: synthetic traces.

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Objects by their popularity.
pub struct Zipf(Vec<f64>);

impl Zipf {
    pub fn new(objects: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=objects)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        sums.iter_mut().for_each(|part| *part /= sum);
        Zipf(sums)
    }

    pub fn draw(&self, random: &mut Random) -> u64 {
        let fraction = random.fraction();
        self.0.partition_point(|&sum| sum < fraction) as u64
    }
}

pub const NAMES: &[&str] = &["zipf-0.9", "zipf-1.0", "scan-loop", "scan-once", "drift"];
/// Objects of a trace.
pub const OBJECTS: u64 = 1_000_000;

/// A trace of so many requests.
pub fn make(name: &str, requests: usize) -> Vec<u64> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let exponent = if ["zipf-1.0", "drift"].contains(&name) { 1.0 } else { 0.9 };
    let zipf = Zipf::new(OBJECTS as usize, exponent);
    let mut looped = 0;
    (0..requests as u64)
        .map(|at| {
            let drawn = zipf.draw(&mut random);
            match name {
                // Bursts of 3000, and then 1000 of a cycle of 250,000 others.
                "scan-loop" if at % 4000 >= 3000 => {
                    looped += 1;
                    OBJECTS + looped % 250_000
                }
                // A fifth comes once.
                "scan-once" if at % 5 == 4 => 2 * OBJECTS + at,
                // Each million requests the popularity moves on by 50,000 objects.
                "drift" => (drawn + at / 1_000_000 * 50_000) % OBJECTS,
                _ => drawn,
            }
        })
        .collect()
}
