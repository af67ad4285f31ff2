// Activation functions, by number. Joined to the shaders that use them.

fn activate(kind: u32, v: f32) -> f32 {
    switch kind {
        case 1u: { return 0.5 * v * (1.0 + erf(v * 0.70710678118)); }
        case 2u: { return 0.5 * v * (1.0 + tanh_accurate(0.7978845608 * (v + 0.044715 * v * v * v))); }
        case 3u: { return v / (1.0 + exp(-v)); }
        case 4u: { return select(v, 0.0, v < 0.0); }
        case 5u: { return tanh_accurate(v); }
        case 0u: { return v; }
        default: { return rarely_activate(kind - 6u, v); }
    }
}

// Those that few models have, in the order of RareActivation::ALL.
fn rarely_activate(kind: u32, v: f32) -> f32 {
    switch kind {
        case 0u: { return clamp(0.5 * v * (1.0 + erf(v * 0.70710678118)), -10.0, 10.0); }
        case 1u: { return select(v, exp_minus_1(v), v < 0.0); }
        case 2u: { return clamp(v + 3.0, 0.0, 6.0) / 6.0; }
        case 3u: { return v * clamp(v + 3.0, 0.0, 6.0) / 6.0; }
        case 4u: { return clamp(v, -1.0, 1.0); }
        case 5u: { return 0.5 * (1.0 + erf((v - 0.707107) / (0.282095 * 1.41421356237))); }
        case 6u: { return select(v, 0.01 * v, v < 0.0); }
        case 7u: { return -softplus(-v); }
        case 8u: { return v * tanh_accurate(softplus(v)); }
        case 9u: { return v / (1.0 + exp(-1.702 * v)); }
        case 10u: { return clamp(v, 0.0, 6.0); }
        case 11u: { return max(v, 0.0) * max(v, 0.0); }
        case 12u: { return 1.05070098736 * select(v, 1.67326324235 * exp_minus_1(v), v < 0.0); }
        case 13u: { return 1.0 / (1.0 + exp(-v)); }
        case 14u: { return softplus(v); }
        case 15u: { return v / (1.0 + abs(v)); }
        case 16u: { return v - tanh_accurate(v); }
        default: { return v; }
    }
}

// e^v - 1 for v below 0: near 0 the first terms of its series, which lose nothing to the 1.
fn exp_minus_1(v: f32) -> f32 {
    let near = v * (1.0 + v * (0.5 + v * (0.16666667 + v * (0.041666667 + v * 0.0083333333))));
    return select(near, exp(v) - 1.0, v < -0.25);
}

// ln(1 + e^v)
fn softplus(v: f32) -> f32 {
    return max(v, 0.0) + log(1.0 + exp(-abs(v)));
}

// An odd polynomial below 0.625, 1 - 2 / (e^2|v| + 1) above: the built-in tanh may be far less
// accurate near 0.
fn tanh_accurate(v: f32) -> f32 {
    let a = abs(v);
    let s = v * v;
    var p = -5.7049886e-3;
    p = p * s + 2.0639081e-2;
    p = p * s - 5.3739715e-2;
    p = p * s + 1.3331441e-1;
    p = p * s - 3.3333280e-1;
    let near = p * s * v + v;
    // Beyond 10 it is 1 to rounding; the limit keeps exp finite.
    let far = sign(v) * (1.0 - 2.0 / (exp(2.0 * min(a, 10.0)) + 1.0));
    return select(near, far, a > 0.625);
}

// As in kernels/src/math.rs.
fn erf(v: f32) -> f32 {
    let a = min(abs(v), 4.0); // erf is 1 to rounding from there
    let s = a * a;
    var p = a * -1.7285347e-5 + 3.8319713e-4;
    p = p * s + (a * -3.8839644e-3 + 2.4254622e-2);
    p = p * a - 1.0677788e-1;
    p = p * a - 6.3484669e-1;
    p = p * a - 1.2871751e-1;
    let far = sign(v) * (1.0 - exp(p * a - a));
    p = -5.967617e-4;
    p = p * s + 4.991194e-3;
    p = p * s - 2.6768135e-2;
    p = p * s + 1.1281992e-1;
    p = p * s - 3.7612534e-1;
    p = p * s + 1.2837917e-1;
    let near = p * v + v;
    return select(near, far, a > 0.9277344);
}
