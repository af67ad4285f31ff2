//! One measurement.

/// A kernel's measurement.
pub(super) struct Point {
    pub(super) name: String,
    pub(super) storage: &'static str,
    pub(super) seconds: f64,
    /// Additions and multiplications.
    pub(super) operations: f64,
    /// Read and written at least.
    pub(super) bytes: f64,
    /// Operations a second of its arithmetic alone, measured beside it: a machine's speed changes.
    pub(super) peak: f64,
    /// Of the results that were checked, as a share of the largest.
    pub(super) error: f64,
}

impl Point {
    /// Of its arithmetic's peak.
    pub(super) fn share(&self) -> f64 {
        self.operations / self.seconds / self.peak
    }

    /// Whether it has one operation a value, so that only bytes say something.
    pub(super) fn is_elementwise(&self) -> bool {
        self.operations < self.bytes / 4.0
    }
}
