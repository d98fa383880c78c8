package org.edgekd.jvm

import java.nio.ByteBuffer
import org.bytedeco.javacpp.BytePointer
import org.bytedeco.javacpp.Pointer
import org.bytedeco.tensorflowlite.BuiltinOpResolverWithoutDefaultDelegates
import org.bytedeco.tensorflowlite.FlatBufferModelBase
import org.bytedeco.tensorflowlite.Interpreter
import org.bytedeco.tensorflowlite.InterpreterBuilder
import org.bytedeco.tensorflowlite.TfLiteTensor
import org.bytedeco.tensorflowlite.global.tensorflowlite.TfLiteTypeGetName
import org.bytedeco.tensorflowlite.global.tensorflowlite.kTfLiteOk
import org.edgekd.core.EngineSettings
import org.edgekd.core.InferenceEngine
import org.edgekd.core.ModelException
import org.edgekd.core.TensorSpec
import org.edgekd.core.UnusableModel

/** TensorFlow Lite's C++ interpreter on a computer, with XNNPACK or with the built-in kernels as the settings say. */
class NativeEngine private constructor(private val interpreter: Interpreter, private val parts: Parts) : InferenceEngine {
    private val inputTensor: TfLiteTensor = interpreter.input_tensor(0)
    private val outputTensor: TfLiteTensor = interpreter.output_tensor(0)

    override val input: TensorSpec = spec(inputTensor)
    override val output: TensorSpec = spec(outputTensor)

    override fun run(tensor: ByteArray): FloatArray {
        require(tensor.size.toLong() == inputTensor.bytes())
        inputTensor.data().uint8().put(tensor, 0, tensor.size)
        if (interpreter.Invoke() != kTfLiteOk) throw UnusableModel("it does not run")
        return FloatArray((outputTensor.bytes() / Float.SIZE_BYTES).toInt()).also { outputTensor.data().f().get(it) }
    }

    override fun close() = parts.close()

    companion object {
        /** Throws [UnusableModel]. */
        fun open(model: ByteBuffer, settings: EngineSettings): NativeEngine {
            val parts = Parts()
            try {
                return NativeEngine(interpreter(model, settings, parts), parts)
            } catch (error: ModelException) {
                parts.close()
                throw error
            }
        }

        private fun interpreter(model: ByteBuffer, settings: EngineSettings, parts: Parts): Interpreter {
            // The interpreter reads the weights where they lie, which must not move: outside of Java's heap.
            val bytes = ByteArray(model.remaining()).also { model.duplicate().get(it) }
            val content = BytePointer(bytes.size.toLong()).put(bytes, 0, bytes.size)
            parts += content
            val graph = FlatBufferModelBase.VerifyAndBuildFromBuffer(content, content.limit())
                ?: throw UnusableModel("it is no TensorFlow Lite file, or a damaged one")
            parts += graph
            val kernels = BuiltinOpResolverWithoutDefaultDelegates()
            parts += kernels
            val builder = InterpreterBuilder(graph, kernels)
            parts += builder
            val interpreter = Interpreter(null as Pointer?) // the builder fills it in
            if (builder.apply(interpreter, settings.numThreads) != kTfLiteOk) throw UnusableModel("it has unknown operators")
            val delegate = if (settings.xnnpack) XnnpackDelegate(settings.numThreads) else null
            delegate?.let { parts += it }
            parts += interpreter
            if (delegate != null && interpreter.ModifyGraphWithDelegate(delegate.pointer) != kTfLiteOk) {
                throw UnusableModel("XNNPACK refuses it")
            }
            if (interpreter.AllocateTensors() != kTfLiteOk) throw UnusableModel("its tensors do not fit its operators")
            if (interpreter.inputs().limit() != 1L || interpreter.outputs().limit() != 1L) {
                throw UnusableModel("it has more than one input or output")
            }
            // What a delegate takes is one node more, and off the plan.
            val planned = interpreter.execution_plan().limit()
            if (delegate != null && 2 * planned > interpreter.nodes_size()) {
                throw UnusableModel("XNNPACK leaves $planned of its operators to the built-in kernels")
            }
            return interpreter
        }

        private fun spec(tensor: TfLiteTensor): TensorSpec {
            val type = TfLiteTypeGetName(tensor.type()).string.lowercase()
            return TensorSpec(
                name = tensor.name().string,
                shape = List(tensor.dims().size()) { tensor.dims().data(it) },
                dtype = if (type == "int" || type == "float") type + "32" else type,
                scale = tensor.params().scale().toDouble(),
                zeroPoint = tensor.params().zero_point(),
            )
        }
    }
}

/** Native objects that live until the last of them is done with the others; closed from the last to the first. */
private class Parts : AutoCloseable {
    private val parts = ArrayDeque<AutoCloseable>()

    operator fun plusAssign(part: AutoCloseable) = parts.addLast(part)

    override fun close() {
        while (parts.isNotEmpty()) parts.removeLast().close()
    }
}
