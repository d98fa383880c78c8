package org.edgekd.demo

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.edgekd.core.EngineSettings
import org.edgekd.core.InferenceEngine
import org.edgekd.core.TensorSpec
import org.edgekd.core.UnusableModel
import org.edgekd.core.WrongTensor
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import org.tensorflow.lite.TensorFlowLite

/** LiteRT's interpreter on the CPU, the kernels that the bundle's answers were made with. */
class TfliteEngine private constructor(private val interpreter: Interpreter) : InferenceEngine {
    override val input: TensorSpec = spec(interpreter.getInputTensor(0))
    override val output: TensorSpec = spec(interpreter.getOutputTensor(0))

    private val source = direct(interpreter.getInputTensor(0).numBytes())
    private val target = direct(interpreter.getOutputTensor(0).numBytes())

    override fun run(tensor: ByteArray): FloatArray {
        if (tensor.size != source.capacity()) {
            throw WrongTensor("input", "${source.capacity()} bytes long", "${tensor.size} bytes")
        }
        source.clear()
        source.put(tensor)
        source.rewind()
        target.rewind()
        inWords { interpreter.run(source, target) }
        target.rewind()
        return FloatArray(target.capacity() / Float.SIZE_BYTES).also { target.asFloatBuffer().get(it) }
    }

    override fun close() = interpreter.close()

    companion object {
        /** An `EngineFactory`. The buffer of [model] must be direct or mapped. */
        fun open(model: ByteBuffer, settings: EngineSettings): InferenceEngine = inWords {
            val options = Interpreter.Options().setNumThreads(settings.numThreads).setUseXNNPACK(settings.xnnpack)
            val interpreter = Interpreter(model.duplicate().order(ByteOrder.nativeOrder()), options)
            if (interpreter.inputTensorCount != 1 || interpreter.outputTensorCount != 1) {
                interpreter.close()
                throw UnusableModel("it has more than one input or output")
            }
            TfliteEngine(interpreter)
        }

        fun runtime(): String = "LiteRT " + TensorFlowLite.runtimeVersion()
    }
}

private fun spec(tensor: Tensor): TensorSpec {
    val quantization = tensor.quantizationParams()
    return TensorSpec(
        name = tensor.name(),
        shape = tensor.shape().toList(),
        dtype = tensor.dataType().name.lowercase(),
        scale = quantization.scale.toDouble(),
        zeroPoint = quantization.zeroPoint,
    )
}

private fun direct(bytes: Int) = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

/** What the interpreter throws, as an error of the core's. */
private fun <T> inWords(call: () -> T): T = try {
    call()
} catch (error: IllegalArgumentException) {
    throw UnusableModel(error.firstLine())
} catch (error: IllegalStateException) {
    throw UnusableModel(error.firstLine())
} catch (error: LinkageError) { // no native library for this processor
    throw UnusableModel(error.firstLine())
}

private fun Throwable.firstLine() = (message ?: toString()).lineSequence().first()
