// Activation functions, by number. Joined to the shaders that use them.

fn activate(kind: u32, v: f32) -> f32 {
    switch kind {
        case 1u: { return 0.5 * v * (1.0 + erf(v * 0.70710678118)); }
        case 2u: { return 0.5 * v * (1.0 + tanh_accurate(0.7978845608 * (v + 0.044715 * v * v * v))); }
        case 3u: { return v / (1.0 + exp(-v)); }
        case 4u: { return select(v, 0.0, v < 0.0); }
        case 5u: { return tanh_accurate(v); }
        default: { return v; }
    }
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
