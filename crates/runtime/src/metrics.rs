//! Histogram buckets for latencies that start at microseconds.

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds in seconds: 10 µs to 10 s, about two and a half a decade.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 10.0,
];

/// A histogram of seconds over `LATENCY_BUCKETS`.
pub fn latency_histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}
