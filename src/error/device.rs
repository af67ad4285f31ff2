//! What can go wrong on a device.

/// Why a device cannot be used, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No GPU fits what was asked for.
    #[error(
        "no GPU adapter for {asked}: {found}; install a Vulkan driver (on Debian mesa-vulkan-drivers has a software one), or use the cpu device"
    )]
    NoAdapter {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: String,
    },
    /// This build has no GPU backend.
    #[error(
        "this build of taskvec has no GPU backend; build it with the feature `gpu`, or use the cpu device"
    )]
    GpuNotBuilt,
    /// The GPU driver refused something.
    #[error("GPU {adapter}: {problem}; use the cpu device, or update the driver")]
    Gpu {
        /// The adapter.
        adapter: String,
        /// The driver's own words.
        problem: String,
    },
    /// The GPU's driver does not take one of the shaders.
    #[error(
        "GPU {adapter} does not take the shader {shader}: {problem}; update the driver, use another precision, or the cpu device"
    )]
    ShaderRejected {
        /// The adapter.
        adapter: String,
        /// Which shader, in which form.
        shader: String,
        /// The driver's own words.
        problem: String,
    },
    /// The GPU has no memory left for the model's weights or a batch.
    #[error(
        "GPU {adapter} has no memory left for {what} ({needed} bytes): {problem}; use bf16 or f16 weights, smaller batches, or the cpu device"
    )]
    OutOfMemory {
        /// The adapter.
        adapter: String,
        /// What did not fit.
        what: String,
        /// Bytes of it.
        needed: u64,
        /// The driver's own words.
        problem: String,
    },
    /// The work needs more of something than the GPU has.
    #[error(
        "GPU {adapter}: {what} needs {needed} bytes, the limit is {limit}; embed shorter texts, lower the batch size, or use the cpu device"
    )]
    Limit {
        /// The adapter.
        adapter: String,
        /// What is too large.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The driver would end a shader's loops before a text is done, and give a wrong vector: software drivers do.
    #[error(
        "GPU {adapter} ends a shader's loops after {limit} turns without an error, and a text of {tokens} tokens may take {turns}: its vector would be wrong; embed shorter texts, or use the cpu device"
    )]
    LoopLimit {
        /// The adapter.
        adapter: String,
        /// Tokens of the longest text of a batch.
        tokens: usize,
        /// Turns that it may take.
        turns: usize,
        /// Turns that the driver lets it take.
        limit: usize,
    },
    /// The GPU went away (driver reset, unplugged, hang).
    #[error("GPU {adapter} was lost ({reason}); open the model again, or use the cpu device")]
    Lost {
        /// The adapter.
        adapter: String,
        /// The driver's own words.
        reason: String,
    },
    /// The system did not start the threads asked for.
    #[error("cannot start {threads} threads; ask for fewer")]
    Threads {
        /// The number asked for.
        threads: usize,
        /// What the system says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
