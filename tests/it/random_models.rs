//! Random models against the oracle: sizes that no real model has, every switch of the plan, on
//! every device.

use crate::devices;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taskvec::{Device, EmbedOptions, Embedder, Embedding, Precision};
use taskvec_testing::fixture;
use taskvec_testing::{ModelFolder, RawTensor};

/// The largest difference to the oracle that any value may have.
pub(crate) const BOUND: f32 = 2e-5;

/// Of norms: rows of one or two values are often nearly 0, and with the usual 1e-6 a norm would make a thousand times
/// as much of their last bit.
const EPS: f32 = 1e-2;

/// Deterministic values with about the spread of a normal distribution.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn value(&mut self) -> f32 {
        let mut uniform = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 40) as f32 / (1u64 << 24) as f32
        };
        (uniform() + uniform() + uniform() + uniform() - 2.0) * 1.7
    }

    pub(crate) fn matrix(&mut self, outputs: usize, inputs: usize) -> RawTensor {
        let spread = 1.5 / (inputs as f32).sqrt();
        let values: Vec<f32> = (0..outputs * inputs).map(|_| spread * self.value()).collect();
        RawTensor::from_f32(&[outputs, inputs], &values)
    }

    fn vector(&mut self, size: usize, centre: f32) -> RawTensor {
        let values: Vec<f32> = (0..size).map(|_| centre + 0.2 * self.value()).collect();
        RawTensor::from_f32(&[size], &values)
    }
}

pub(crate) type Tensors = BTreeMap<String, RawTensor>;

#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

pub(crate) fn qwen3(
    shape: &Shape,
    causal: bool,
    window: Option<usize>,
    bias: bool,
    random: &mut Random,
) -> (Value, Tensors) {
    let Shape { hidden, intermediate, layers, heads, kv_heads, head_dim } = *shape;
    let kind = if window.is_some() && causal { "sliding_attention" } else { "full_attention" };
    let kinds: Vec<&str> = (0..layers).map(|n| if n % 2 == 0 { kind } else { "full_attention" }).collect();
    let config = json!({
        "model_type": "qwen3", "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "head_dim": head_dim, "vocab_size": 600, "max_position_embeddings": 256, "hidden_act": "silu",
        "attention_bias": bias, "is_causal": causal, "layer_types": kinds, "sliding_window": window,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}, "rms_norm_eps": EPS,
    });
    let mut tensors = Tensors::new();
    let mut add = |name: String, tensor: RawTensor| drop(tensors.insert(name, tensor));
    add("embed_tokens.weight".into(), random.matrix(600, hidden));
    add("norm.weight".into(), random.vector(hidden, 1.0));
    for n in 0..layers {
        for (name, outputs, inputs) in [
            ("q", heads * head_dim, hidden),
            ("k", kv_heads * head_dim, hidden),
            ("v", kv_heads * head_dim, hidden),
            ("o", hidden, heads * head_dim),
        ] {
            add(format!("layers.{n}.self_attn.{name}_proj.weight"), random.matrix(outputs, inputs));
            if bias {
                add(format!("layers.{n}.self_attn.{name}_proj.bias"), random.vector(outputs, 0.0));
            }
        }
        for (name, outputs, inputs) in
            [("gate", intermediate, hidden), ("up", intermediate, hidden), ("down", hidden, intermediate)]
        {
            add(format!("layers.{n}.mlp.{name}_proj.weight"), random.matrix(outputs, inputs));
        }
        for (name, size) in [
            ("input_layernorm", hidden),
            ("post_attention_layernorm", hidden),
            ("self_attn.q_norm", head_dim),
            ("self_attn.k_norm", head_dim),
        ] {
            add(format!("layers.{n}.{name}.weight"), random.vector(size, 1.0));
        }
    }
    (config, tensors)
}

/// Short convolutions but for each third layer, one way or both.
fn lfm2(shape: &Shape, causal: bool, taps: usize, random: &mut Random) -> (Value, Tensors) {
    let Shape { hidden, intermediate, layers, heads, kv_heads, head_dim } = *shape;
    let kinds: Vec<&str> = (0..layers).map(|n| if n % 3 == 2 { "full_attention" } else { "conv" }).collect();
    let mut config = json!({
        "model_type": "lfm2", "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim, "vocab_size": 600,
        "max_position_embeddings": 256, "layer_types": kinds, "conv_L_cache": taps, "norm_eps": EPS,
    });
    if !causal {
        config["auto_map"] = json!({"AutoModel": "modeling_lfm2_bidirectional.Lfm2BidirectionalModel"});
    }
    let mut tensors = Tensors::new();
    let mut add = |name: String, tensor: RawTensor| drop(tensors.insert(name, tensor));
    add("embed_tokens.weight".into(), random.matrix(600, hidden));
    add("embedding_norm.weight".into(), random.vector(hidden, 1.0));
    for (n, kind) in kinds.iter().enumerate() {
        let mixer: &[(&str, usize, usize)] = match *kind {
            "conv" => &[("conv.in_proj", 3 * hidden, hidden), ("conv.out_proj", hidden, hidden)],
            _ => &[
                ("self_attn.q_proj", heads * head_dim, hidden),
                ("self_attn.k_proj", kv_heads * head_dim, hidden),
                ("self_attn.v_proj", kv_heads * head_dim, hidden),
                ("self_attn.out_proj", hidden, heads * head_dim),
            ],
        };
        let mlp = [("w1", intermediate, hidden), ("w3", intermediate, hidden), ("w2", hidden, intermediate)];
        for (name, outputs, inputs) in mixer {
            add(format!("layers.{n}.{name}.weight"), random.matrix(*outputs, *inputs));
        }
        for (name, outputs, inputs) in mlp {
            add(format!("layers.{n}.feed_forward.{name}.weight"), random.matrix(outputs, inputs));
        }
        if *kind == "conv" {
            let values = random.matrix(hidden, taps);
            add(format!("layers.{n}.conv.conv.weight"), RawTensor { shape: vec![hidden, 1, taps], ..values });
        } else {
            for name in ["q_layernorm", "k_layernorm"] {
                add(format!("layers.{n}.self_attn.{name}.weight"), random.vector(head_dim, 1.0));
            }
        }
        for name in ["operator_norm", "ffn_norm"] {
            add(format!("layers.{n}.{name}.weight"), random.vector(hidden, 1.0));
        }
    }
    (config, tensors)
}

fn mpnet(shape: &Shape, activation: &str, buckets: usize, random: &mut Random) -> (Value, Tensors) {
    let Shape { intermediate, layers, heads, head_dim, .. } = *shape;
    let hidden = heads * head_dim;
    let config = json!({
        "model_type": "mpnet", "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": 600,
        "max_position_embeddings": 256, "hidden_act": activation, "relative_attention_num_buckets": buckets,
        "layer_norm_eps": EPS,
    });
    let mut tensors = Tensors::new();
    let mut add = |name: &str, tensor: RawTensor| drop(tensors.insert(name.to_owned(), tensor));
    add("embeddings.word_embeddings.weight", random.matrix(600, hidden));
    add("embeddings.position_embeddings.weight", random.matrix(256, hidden));
    add("encoder.relative_attention_bias.weight", random.matrix(buckets, heads));
    let mut linear = |name: String, outputs: usize, inputs: usize, random: &mut Random| {
        add(&format!("{name}.weight"), random.matrix(outputs, inputs));
        add(&format!("{name}.bias"), random.vector(outputs, 0.0));
    };
    for n in 0..layers {
        let layer = format!("encoder.layer.{n}");
        for name in ["q", "k", "v", "o"] {
            linear(format!("{layer}.attention.attn.{name}"), hidden, hidden, random);
        }
        linear(format!("{layer}.intermediate.dense"), intermediate, hidden, random);
        linear(format!("{layer}.output.dense"), hidden, intermediate, random);
    }
    let layers =
        (0..layers).flat_map(|n| ["attention", "output"].map(|part| format!("encoder.layer.{n}.{part}")));
    for name in layers.chain(["embeddings".to_owned()]) {
        tensors.insert(format!("{name}.LayerNorm.weight"), random.vector(hidden, 1.0));
        tensors.insert(format!("{name}.LayerNorm.bias"), random.vector(hidden, 0.0));
    }
    (config, tensors)
}

/// DeBERTa: `kinds` of products with distances, by projections that are shared or not.
fn deberta(
    shape: &Shape,
    kinds: &[&str],
    (shared, normed, buckets): (bool, bool, Option<usize>),
    random: &mut Random,
) -> (Value, Tensors) {
    let Shape { intermediate, layers, heads, head_dim, .. } = *shape;
    let hidden = heads * head_dim;
    let config = json!({
        "model_type": "deberta-v2", "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": 600, "layer_norm_eps": EPS,
        "max_position_embeddings": 256, "position_biased_input": false, "relative_attention": true,
        "max_relative_positions": 24, "position_buckets": buckets.map_or(-1, |buckets| buckets as i64),
        "pos_att_type": kinds.join("|"), "share_att_key": shared,
        "norm_rel_ebd": if normed { "layer_norm" } else { "none" },
    });
    let mut tensors = Tensors::new();
    let mut add = |name: &str, tensor: RawTensor| drop(tensors.insert(name.to_owned(), tensor));
    add("embeddings.word_embeddings.weight", random.matrix(600, hidden));
    add("encoder.rel_embeddings.weight", random.matrix(2 * buckets.unwrap_or(24), hidden));
    let mut linear = |name: String, outputs: usize, inputs: usize, random: &mut Random| {
        add(&format!("{name}.weight"), random.matrix(outputs, inputs));
        add(&format!("{name}.bias"), random.vector(outputs, 0.0));
    };
    let own = [("c2p", "pos_key_proj"), ("p2c", "pos_query_proj")];
    let own = own.iter().filter(|(kind, _)| !shared && kinds.contains(kind)).map(|(_, name)| *name);
    let projections: Vec<&str> = ["query_proj", "key_proj", "value_proj"].into_iter().chain(own).collect();
    for n in 0..layers {
        let layer = format!("encoder.layer.{n}");
        for name in &projections {
            linear(format!("{layer}.attention.self.{name}"), hidden, hidden, random);
        }
        linear(format!("{layer}.attention.output.dense"), hidden, hidden, random);
        linear(format!("{layer}.intermediate.dense"), intermediate, hidden, random);
        linear(format!("{layer}.output.dense"), hidden, intermediate, random);
    }
    let layers = (0..layers)
        .flat_map(|n| ["attention.output", "output"].map(|part| format!("encoder.layer.{n}.{part}")));
    for name in layers.chain(["embeddings".to_owned()]).chain(normed.then(|| "encoder".to_owned())) {
        tensors.insert(format!("{name}.LayerNorm.weight"), random.vector(hidden, 1.0));
        tensors.insert(format!("{name}.LayerNorm.bias"), random.vector(hidden, 0.0));
    }
    (config, tensors)
}

/// A model folder around a transformer: pooling by `modes`, then a Dense head, perhaps.
pub(crate) fn write(
    config: &Value,
    tensors: &Tensors,
    modes: &[&str],
    head: Option<&str>,
    random: &mut Random,
) -> ModelFolder {
    let folder = ModelFolder::empty();
    let hidden = config["hidden_size"].as_u64().unwrap() as usize;
    folder.write("config.json", config.to_string());
    folder.write_tensors("model.safetensors", tensors);
    folder.write("tokenizer_config.json", json!({"tokenizer_class": "TokenizersBackend"}).to_string());
    folder.write("tokenizer.json", std::fs::read(fixture("qwen3-embedding").join("tokenizer.json")).unwrap());
    let pooling = json!({"embedding_dimension": hidden, "pooling_mode": modes, "include_prompt": false});
    folder.write("1_Pooling/config.json", pooling.to_string());
    let mut modules = vec![
        json!({"type": "sentence_transformers.models.Transformer", "path": ""}),
        json!({"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}),
    ];
    if let Some(activation) = head {
        let inputs = hidden * modes.len();
        let config = json!({"in_features": inputs, "out_features": 21, "bias": true, "activation_function": activation});
        folder.write("2_Dense/config.json", config.to_string());
        let weights = [("linear.weight", random.matrix(21, inputs)), ("linear.bias", random.vector(21, 0.0))];
        let weights = weights.map(|(name, tensor)| (name.to_owned(), tensor)).into();
        folder.write_tensors("2_Dense/model.safetensors", &weights);
        modules.push(json!({"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}));
        modules.push(json!({"type": "sentence_transformers.models.Dense", "path": "2_Dense"}));
    }
    modules.push(json!({"type": "sentence_transformers.models.Normalize", "path": "3_Normalize"}));
    folder.write("modules.json", Value::from(modules).to_string());
    folder
}

const TEXTS: [&str; 5] = [
    "a",
    "What causes global warming?",
    "",
    "def main(argv):\n    for i in range(10):\n        print(i, argv[0])\n    return {'a': 1, 'b': [2, 3]}",
    "The quick brown fox jumps over the lazy dog while the engine multiplies matrices on the device, and \
     tokens go through the layers of a transformer until their number is larger than any tile of keys or \
     queries, so that more than one block of them is needed, with some left over at the end of the text.",
];

fn shapes() -> impl Strategy<Value = Shape> {
    (1usize..90, 1usize..130, 1usize..3, 1usize..4, 1usize..4, 1usize..20).prop_map(
        |(hidden, intermediate, layers, kv_heads, group, half)| Shape {
            hidden,
            intermediate,
            layers,
            heads: kv_heads * group,
            kv_heads,
            head_dim: 2 * half,
        },
    )
}

pub(crate) fn difference(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The largest distance of two vectors of the same text.
fn farthest(left: &[Embedding], right: &[Embedding]) -> f32 {
    let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(square).sum::<f32>().sqrt();
    left.iter().zip(right).map(|(left, right)| distance(&left.value, &right.value)).fold(0.0, f32::max)
}

/// The oracle's vectors in f32 once the layers' matrices are those that a precision has numbers for: a GPU in bf16
/// rounds nothing else.
fn rounded(folder: &ModelFolder, options: &EmbedOptions, round: impl Fn(f32) -> f32) -> Vec<Embedding> {
    let copy = ModelFolder::copy_of(folder.path());
    copy.edit_tensors(|tensors| {
        for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name.contains("layer")) {
            if let [_, _] = tensor.shape[..] {
                assert_eq!(tensor.dtype, safetensors::Dtype::F32, "{name}");
                for value in tensor.data.chunks_exact_mut(4) {
                    let number = f32::from_le_bytes(value.try_into().unwrap());
                    value.copy_from_slice(&round(number).to_le_bytes());
                }
            }
        }
    });
    let oracle = Embedder::builder().device(Device::Reference).open(copy.path()).unwrap();
    oracle.embed_batch(&TEXTS, options).unwrap()
}

/// In f32; what the oracle gives.
fn check_f32(folder: &ModelFolder, options: &EmbedOptions) -> Result<Vec<Embedding>, TestCaseError> {
    let oracle = Embedder::builder().device(Device::Reference).open(folder.path()).unwrap();
    let expected = oracle.embed_batch(&TEXTS, options).unwrap();
    for (device, builder) in devices() {
        let got = builder.open(folder.path()).unwrap().embed_batch(&TEXTS, options).unwrap();
        for ((got, want), text) in got.iter().zip(&expected).zip(TEXTS) {
            let worst = difference(&got.value, &want.value);
            prop_assert!(worst <= BOUND, "{device}: {worst:e} for {text:?}");
        }
    }
    Ok(expected)
}

fn check(folder: &ModelFolder) -> Result<(), TestCaseError> {
    let options = EmbedOptions::new().prompt("query: ");
    let expected = check_f32(folder, &options)?;
    // A GPU has other forms of its shaders for these.
    for (device, builder) in devices().into_iter().filter(|(device, _)| device == "gpu") {
        let open = |precision| builder.clone().precision(precision).open(folder.path()).unwrap();
        let got = open(Precision::Bf16).embed_batch(&TEXTS, &options).unwrap();
        for ((got, want), text) in got
            .iter()
            .zip(&rounded(folder, &options, |number| half::bf16::from_f32(number).to_f32()))
            .zip(TEXTS)
        {
            let worst = difference(&got.value, &want.value);
            prop_assert!(worst <= BOUND, "{device} in bf16: {worst:e} for {text:?}");
        }
        // f16 rounds what lies between steps too: in the middle twice as much as its rounded weights alone do, and
        // 6 times in one model of 100.
        let got = open(Precision::F16).embed_batch(&TEXTS, &options).unwrap();
        let weights = rounded(folder, &options, |number| half::f16::from_f32(number).to_f32());
        let by_weights = farthest(&weights, &expected);
        let by_all = farthest(&got, &expected);
        prop_assert!(
            by_all <= (12.0 * by_weights).max(0.02),
            "{device} in f16: {by_all}, weights {by_weights}"
        );
    }
    Ok(())
}

fn modes() -> impl Strategy<Value = Vec<&'static str>> {
    let all = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"];
    prop::sample::subsequence(all.to_vec(), 1..=all.len()).prop_shuffle()
}

fn heads() -> impl Strategy<Value = Option<&'static str>> {
    let names = ["a.Tanh", "a.Identity", "a.GELU", "a.ReLU", "a.SiLU"];
    prop::option::of(prop::sample::select(names.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoder_shaped(
        shape in shapes(), modes in modes(), head in heads(), seed in 1u64..,
        causal in any::<bool>(), window in prop::option::of(1usize..50), bias in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let (config, tensors) = qwen3(&shape, causal, window, bias, &mut random);
        check(&write(&config, &tensors, &modes, head, &mut random))?;
    }

    #[test]
    fn with_short_convolutions(
        shape in shapes(), modes in modes(), head in heads(), seed in 1u64..,
        causal in any::<bool>(), half in 0usize..4,
    ) {
        let mut random = Random(seed);
        let (config, tensors) = lfm2(&shape, causal, 2 * half + 1, &mut random);
        check(&write(&config, &tensors, &modes, head, &mut random))?;
    }

    #[test]
    fn encoder_shaped(
        shape in shapes(), modes in modes(), head in heads(), seed in 1u64..,
        activation in prop::sample::select(vec!["gelu", "gelu_new", "silu", "relu", "tanh"]),
        buckets in prop::sample::select(vec![8usize, 16, 32, 64]),
    ) {
        let mut random = Random(seed);
        let (config, tensors) = mpnet(&shape, activation, buckets, &mut random);
        check(&write(&config, &tensors, &modes, head, &mut random))?;
    }

    /// (In bf16 and f16 a GPU keeps the vectors of distances in f32, which the oracle cannot be told to.)
    #[test]
    fn deberta_shaped(
        shape in shapes(), seed in 1u64..,
        kinds in prop::sample::subsequence(vec!["c2p", "p2c"], 0..=2),
        shared in any::<bool>(), normed in any::<bool>(),
        buckets in prop::option::of(4usize..40),
    ) {
        let mut random = Random(seed);
        let (config, tensors) = deberta(&shape, &kinds, (shared, normed, buckets), &mut random);
        let folder = write(&config, &tensors, &["mean"], None, &mut random);
        check_f32(&folder, &EmbedOptions::new().prompt("query: "))?;
    }
}
