// Activations of tokens in f32. Joined in front of the shaders that read or write them.

alias value = f32;
