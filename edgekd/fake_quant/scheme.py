"""How tfmot rounds kernels and which layers have a range, made to agree with the converter."""

from __future__ import annotations

import functools
from typing import Any

from edgekd import _keras
from edgekd._keras import tf, tf_keras


@functools.cache
def scheme() -> Any:
    """tfmot's 8-bit scheme, with kernels rounded a channel as the converter does it, and with Rescaling.

    Its own rounds depthwise and dense kernels by one scale for all channels, does not round the kernel of a layer with
    a ReLU right behind it, and does not know Rescaling.
    """
    quantization = _keras.tfmot().quantization.keras
    default, layers = quantization.default_8bit, tf_keras.layers
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)

    class Kernel(quantization.quantizers.Quantizer):  # type: ignore[name-defined, misc]  # tfmot has no types
        """A scale for each output channel, of the kernel as it is: there is nothing to remember, nothing to be late.

        A depthwise kernel ``(h, w, channels, multiplier)`` has its output channels in the last two axes.
        """

        def __init__(self, layer: Any):
            self.axes = 2 if isinstance(layer, layers.DepthwiseConv2D) else 1

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            return {}

        def __call__(self, inputs: Any, training: bool, weights: Any, **options: Any) -> Any:
            channels = inputs.shape[-self.axes :].num_elements()
            return tf.reshape(_rounded(tf.reshape(inputs, [-1, channels])), inputs.shape)

        def get_config(self) -> dict[str, Any]:
            return {}

    class Alone(quantization.QuantizeConfig):  # type: ignore[name-defined, misc]
        """The kernel of a layer whose output is rounded behind the next one."""

        def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
            return [(getattr(layer, _kernel_of(layer)), Kernel(layer))]

        def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
            setattr(layer, _kernel_of(layer), quantize_weights[0])

        def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
            return []

        def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
            pass

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_config(self) -> dict[str, Any]:
            return {}

    class Layout(default.Default8BitQuantizeLayoutTransform):  # type: ignore[name-defined, misc]
        def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
            model, found = super().apply(model, layer_quantize_map)
            with_kernel = [layer.name for layer in model.layers if isinstance(layer, kinds)]
            for name in with_kernel:
                if found[name].get("quantize_config") is not None:
                    found[name]["quantize_config"] = Alone()
            return model, found

    class Registry(default.Default8BitQuantizeRegistry):  # type: ignore[name-defined, misc]
        def supports(self, layer: Any) -> bool:
            return isinstance(layer, layers.Rescaling) or bool(super().supports(layer))

        def get_quantize_config(self, layer: Any) -> Any:
            if isinstance(layer, layers.Rescaling):
                # A scale without an offset goes into the first convolution: to round in between changes nothing.
                layer = layers.ReLU() if layer.offset else layers.Flatten()
            config = super().get_quantize_config(layer)
            if isinstance(layer, kinds):
                config.weight_quantizer = Kernel(layer)
            return config

    class Scheme(default.Default8BitQuantizeScheme):  # type: ignore[name-defined, misc]
        def get_layout_transformer(self) -> Any:
            return Layout()

        def get_quantize_registry(self) -> Any:
            return Registry()

    return Scheme()


def _kernel_of(layer: Any) -> str:
    return "depthwise_kernel" if isinstance(layer, tf_keras.layers.DepthwiseConv2D) else "kernel"


def _rounded(flat: Any) -> Any:
    """``(n, channels)`` with each channel on its own 255 steps around 0."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(flat), axis=0))
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(flat, -largest, largest, narrow_range=True)
