// Activations of tokens in f16; sums are f32 in any case. Joined in front of the shaders that read or
// write them.
enable f16;

alias value = f16;
