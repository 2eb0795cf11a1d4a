// Restores a photo with ONNX Runtime Web, in a browser or in node.
//
//   npm install onnxruntime-web
//   node restore.mjs serve.onnx photo.ppm restored.ppm [mask.pgm]
//
// Photos are binary PPM, masks binary PGM (nonzero = damaged), of any equal size. In a browser call
// `restore` with the pixels of a canvas, docs/serving.md.

import * as ort from "onnxruntime-web";

/** pixels: Uint8Array of height·width·3. mask: of height·width, or null. Returns as pixels. */
export async function restore(session, pixels, height, width, mask = null) {
  const inputs = { image: new ort.Tensor("uint8", pixels, [1, height, width, 3]) };
  if (mask) inputs.mask = new ort.Tensor("uint8", mask, [1, height, width, 1]);
  return (await session.run(inputs)).restored.data;
}

async function main(model, photo, output, maskFile) {
  const { readFile, writeFile } = await import("node:fs/promises");
  const read = async (path) => {
    const bytes = await readFile(path);
    const [header, kind, width, height] = bytes
      .subarray(0, 100).toString("latin1").match(/^(P[56])\s+(\d+)\s+(\d+)\s+255\s/) ?? [];
    if (!kind) throw new Error(`${path} is no binary PPM or PGM of 8 bits`);
    return { height: +height, width: +width, pixels: new Uint8Array(bytes.subarray(header.length)) };
  };
  const { height, width, pixels } = await read(photo);
  const session = await ort.InferenceSession.create(await readFile(model));
  const mask = maskFile ? (await read(maskFile)).pixels : null;
  const restored = await restore(session, pixels, height, width, mask);
  await writeFile(output, Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), restored]));
  console.log(`${photo} restored to ${output}, ${width}x${height}`);
}

if (globalThis.process?.argv[1]?.endsWith("restore.mjs")) await main(...process.argv.slice(2));
