package org.edgekd.jvm

import com.sun.jna.Function
import com.sun.jna.Memory
import com.sun.jna.NativeLibrary
import org.bytedeco.javacpp.Loader
import org.bytedeco.javacpp.Pointer
import org.bytedeco.tensorflowlite.TfLiteDelegate
import org.bytedeco.tensorflowlite.global.tensorflowlite

/**
 * XNNPACK for INT8 models. Must outlive the interpreter.
 *
 * The library was compiled with XNNPACK's INT8 kernels switched off by default, which leaves the whole model but its
 * float softmax to the built-in ones. The flag is in the C options, and those have no Java method.
 */
internal class XnnpackDelegate(numThreads: Int) : AutoCloseable {
    private val address: com.sun.jna.Pointer = Memory(OPTIONS_BYTES).use { options ->
        options.clear() // which is what TfLiteXNNPackDelegateOptionsDefault gives
        options.setInt(NUM_THREADS, numThreads)
        options.setInt(FLAGS, QS8 or QU8)
        function("TfLiteXNNPackDelegateCreate").invokePointer(arrayOf(options))
    }

    val pointer = TfLiteDelegate(object : Pointer() {
        init {
            address = com.sun.jna.Pointer.nativeValue(this@XnnpackDelegate.address)
        }
    })

    override fun close() = function("TfLiteXNNPackDelegateDelete").invokeVoid(arrayOf(address))

    private fun function(name: String): Function =
        NativeLibrary.getInstance(Loader.load(tensorflowlite::class.java)).getFunction(name)

    /** `TfLiteXNNPackDelegateOptions` of TensorFlow Lite 2.19 (lite/delegates/xnnpack/xnnpack_delegate.h). */
    private companion object {
        const val OPTIONS_BYTES = 32L
        const val NUM_THREADS = 0L
        const val FLAGS = 4L
        const val QS8 = 1
        const val QU8 = 2
    }
}
