//! From registers to a number: the improved raw estimator of Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches", arXiv:1702.01284 (2017), algorithms 4 to 6. Unbiased from 0 on: no table, and no switch
//! between estimators.

use super::{Histogram, RANK_BITS, REGISTERS};

/// The limit of the bias correction for many registers: 1 / (2 ln 2).
const ALPHA: f64 = 0.5 / core::f64::consts::LN_2;

pub fn cardinality(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let share = |value: usize| f64::from(histogram[value]) / registers;
    let ranks = RANK_BITS as usize;
    // Registers that cannot get higher stand for values beyond; those that are 0, for all below 1.
    let mut sum = registers * tau(1.0 - share(ranks + 1));
    for value in (1..=ranks).rev() {
        sum = (sum + f64::from(histogram[value])) * 0.5;
    }
    sum += registers * sigma(share(0));
    libm::round(ALPHA * registers * registers / sum) as u64
}

/// x + sum over k > 0 of x^(2^k) 2^(k-1).
fn sigma(x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut weight, mut power) = (x, 1.0, x);
    loop {
        let before = sum;
        power *= power;
        sum += power * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// (1 - x - sum over k > 0 of (1 - x^(2^-k))^2 2^-k) / 3.
fn tau(x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut weight, mut root) = (1.0 - x, 1.0, x);
    loop {
        let before = sum;
        root = libm::sqrt(root);
        weight *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}
