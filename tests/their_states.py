"""Hidden states of transformers' models, whichever its version."""


def model_states(model, waveform):
    """The last is that after a model's last norm; newer versions list the one before it."""
    output = model(waveform, output_hidden_states=True)
    return (*output.hidden_states[:-1], output.last_hidden_state)


def encoder_states(encoder, features):
    """What the layers are given, and what the encoder gives; encoders of newer versions list no states themselves."""
    states = []
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0])) for layer in encoder.layers]
    last = encoder(features).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*states, last]
