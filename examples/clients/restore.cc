// Restores a photo with LiteRT alone: no Python, no TensorFlow.
//
//   restore model.tflite photo.ppm restored.ppm [mask.pgm]
//
// Photos are binary PPM, masks binary PGM (nonzero = damaged), of any equal size. The library is
// libLiteRt.so of the Python package ai-edge-litert; how to build: docs/serving.md.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

// What is used here of LiteRT's C API (litert/c/*.h of version 2), so that its sources are not
// needed; with them at hand include litert/c/litert_{environment,model,compiled_model,options,
// tensor_buffer}.h instead.
extern "C" {
using Status = int;       // 0: ok
using Handle = void*;     // of an object that the library owns
struct Layout {
  unsigned rank : 7, has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};
struct TensorType {
  int element;  // 3: uint8
  Layout layout;
};
Status LiteRtCreateEnvironment(int, const void* options, Handle* environment);
Status LiteRtCreateModelFromFile(Handle environment, const char* path, Handle* model);
Status LiteRtCreateOptions(Handle* options);
Status LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);  // 1: the CPU
Status LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle* compiled);
Status LiteRtGetNumModelSignatures(Handle model, size_t* count);
Status LiteRtGetModelSignature(Handle model, size_t index, Handle* signature);
Status LiteRtGetSignatureKey(Handle signature, const char** key);
Status LiteRtGetNumSignatureInputs(Handle signature, size_t* count);
Status LiteRtGetSignatureInputName(Handle signature, size_t index, const char** name);
Status LiteRtCompiledModelResizeInputTensor(Handle compiled, size_t signature, size_t input,
                                            const int* sides, size_t rank);
Status LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature,
                                                     size_t input, Handle* requirements);
Status LiteRtCreateManagedTensorBuffer(Handle environment, int kind, const TensorType* type,
                                       size_t bytes, Handle* buffer);  // kind 1: host memory
Status LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const TensorType* type,
                                                       Handle requirements, Handle* buffer);
Status LiteRtLockTensorBuffer(Handle buffer, void** memory, int mode);  // 0: read, 1: write
Status LiteRtUnlockTensorBuffer(Handle buffer);
Status LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t inputs, Handle* input,
                              size_t outputs, Handle* output);
}

#define CHECK(call)                                            \
  if (Status status = (call)) {                                \
    std::fprintf(stderr, "%s gives %d\n", #call, status);      \
    std::exit(1);                                              \
  }

struct Image {
  int height, width, channels;
  std::vector<uint8_t> pixels;
};

Image read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, white = 0;
  file >> kind >> width >> height >> white;
  file.get();
  int channels = kind == "P6" ? 3 : kind == "P5" ? 1 : 0;
  if (!file || !channels || white != 255) {
    std::fprintf(stderr, "%s is no binary PPM or PGM of 8 bits\n", path.c_str());
    std::exit(1);
  }
  Image image{height, width, channels, std::vector<uint8_t>(size_t(height) * width * channels)};
  file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size());
  return image;
}

TensorType type_of(int height, int width, int channels) {
  return {3, {4, 0, {1, height, width, channels}, {}}};
}

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "restore model.tflite photo.ppm restored.ppm [mask.pgm]\n");
    return 2;
  }
  Image photo = read(words[2]), mask = count > 4 ? read(words[4]) : Image{};
  int height = photo.height, width = photo.width;

  Handle environment, model, options, compiled;
  CHECK(LiteRtCreateEnvironment(0, nullptr, &environment));
  CHECK(LiteRtCreateModelFromFile(environment, words[1], &model));
  CHECK(LiteRtCreateOptions(&options));
  CHECK(LiteRtSetOptionsHardwareAccelerators(options, 1));
  CHECK(LiteRtCreateCompiledModel(environment, model, options, &compiled));

  // The signature "serve": uint8 in, uint8 out.
  size_t signatures, serve = 0;
  Handle signature;
  CHECK(LiteRtGetNumModelSignatures(model, &signatures));
  for (; serve < signatures; ++serve) {
    const char* key;
    CHECK(LiteRtGetModelSignature(model, serve, &signature));
    CHECK(LiteRtGetSignatureKey(signature, &key));
    if (!std::strcmp(key, "serve")) break;
  }

  size_t inputs;
  CHECK(LiteRtGetNumSignatureInputs(signature, &inputs));
  std::vector<Handle> given(inputs);
  for (size_t n = 0; n < inputs; ++n) {
    const char* name;
    CHECK(LiteRtGetSignatureInputName(signature, n, &name));
    const Image& image = std::strcmp(name, "mask") ? photo : mask;
    if (image.height != height || image.width != width) {
      std::fprintf(stderr, "this model needs a mask of the photo's size\n");
      return 1;
    }
    int sides[] = {1, height, width, image.channels};
    CHECK(LiteRtCompiledModelResizeInputTensor(compiled, serve, n, sides, 4));
    TensorType type = type_of(height, width, image.channels);
    Handle requirements;
    CHECK(LiteRtGetCompiledModelInputBufferRequirements(compiled, serve, n, &requirements));
    CHECK(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements,
                                                          &given[n]));
    void* memory;
    CHECK(LiteRtLockTensorBuffer(given[n], &memory, 1));
    std::memcpy(memory, image.pixels.data(), image.pixels.size());
    CHECK(LiteRtUnlockTensorBuffer(given[n]));
  }

  // Before it runs the model does not know the size of its answer; it is that of the photo.
  TensorType type = type_of(height, width, 3);
  Handle restored;
  CHECK(LiteRtCreateManagedTensorBuffer(environment, 1, &type, photo.pixels.size(), &restored));
  CHECK(LiteRtRunCompiledModel(compiled, serve, inputs, given.data(), 1, &restored));

  void* memory;
  CHECK(LiteRtLockTensorBuffer(restored, &memory, 0));
  std::ofstream file(words[3], std::ios::binary);
  file << "P6\n" << width << " " << height << "\n255\n";
  file.write(static_cast<char*>(memory), photo.pixels.size());
  CHECK(LiteRtUnlockTensorBuffer(restored));
  std::printf("%s restored to %s, %dx%d\n", words[2], words[3], width, height);
}
