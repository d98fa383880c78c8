package org.edgekd.core

import java.nio.ByteBuffer

/** Threads and kernels of an interpreter: with [xnnpack] or with TensorFlow Lite's built-in kernels. */
data class EngineSettings(val numThreads: Int = 1, val xnnpack: Boolean = true) {
    /** As edgekd's reports call it. */
    val kernel: String get() = if (xnnpack) "xnnpack" else "builtin"
}

/** An opened model with one input and one output. Not safe for use by several threads at once. */
interface InferenceEngine : AutoCloseable {
    val input: TensorSpec
    val output: TensorSpec

    /** Run the model on the input tensor's bytes; the float32 output, flattened. */
    fun run(tensor: ByteArray): FloatArray
}

/** Opens a model's bytes; throws [UnusableModel] where it cannot. */
typealias EngineFactory = (model: ByteBuffer, settings: EngineSettings) -> InferenceEngine
