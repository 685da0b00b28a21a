// What KEDA's schema has to say about the objects given as a JSON list on standard input, as JSON: name -> complaint.
import { text } from "node:stream/consumers";
import * as kinds from "@kubernetes-models/keda/keda.sh/v1alpha1";

const complaint = (object) => {
  try {
    new kinds[object.kind](object).validate();
    return "";
  } catch (error) {
    return error.message;
  }
};

const objects = JSON.parse(await text(process.stdin));
console.log(JSON.stringify(Object.fromEntries(objects.map((object) => [object.kind, complaint(object)]))));
